"""The command that attacks an unlearned model."""

from math import isnan
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope.cli.command import Command


def show(console: Console, task: Any, attacked: Any, out: Path, also: Any) -> None:
    """Print what the attack recovered."""
    del task, also
    console.print(_table(attacked.recovery))
    for line in attacked.readings:
        console.print(escape(line))
    for note in dict.fromkeys(filter(None, attacked.recovery["note"])):
        console.print(f"note: {escape(note)}")
    console.print(f"result: {escape(str(out))}", soft_wrap=True)


def _table(recovery: Any) -> Table:
    """Answers before the attack and at its best evaluation, for facts it does not train on."""
    columns = ("model", "variant", "facts", "n", "before", "maximum", "95 %", "between bounds")
    table = Table(*columns, title="facts answered", title_justify="left")
    for row in recovery.loc[recovery["split"] != "attacked"].to_dict("records"):
        table.add_row(
            *(escape(str(row[name]).replace("_", " ")) for name in ("model", "variant", "split")),
            *(f"{row[name]:.3g}" for name in ("n", "before_correct", "maximum_correct")),
            f"{row['maximum_low']:.0%}–{row['maximum_high']:.0%}",
            "" if isnan(row["recovered"]) else f"{row['recovered']:.2f}",
        )
    return table


ATTACK = Command("tasks/attack", show, positional=("model", "attack"))
