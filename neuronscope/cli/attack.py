"""The command that tries to bring back what was forgotten."""

from math import isnan
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope.cli.command import Command


def show(console: Console, task: Any, found: Any, out: Path, also: Any) -> None:
    """Say what came back."""
    del task, also
    console.print(_table(found.recovery))
    for line in found.readings:
        console.print(escape(line))
    for note in dict.fromkeys(filter(None, found.recovery["note"])):
        console.print(f"note: {escape(note)}")
    console.print(f"result: {escape(str(out))}", soft_wrap=True)


def _table(recovery: Any) -> Table:
    """How many answers were given, of facts that the attack does not teach."""
    table = Table("model", "run", "facts", "n", "before", "most", "95 %", "recovered")
    for row in recovery.loc[recovery["split"] != "attacked"].to_dict("records"):
        table.add_row(
            *(escape(str(row[name]).replace("_", " ")) for name in ("model", "variant", "split")),
            *(f"{row[name]:.3g}" for name in ("n", "before_correct", "maximum_correct")),
            f"{row['maximum_low']:.0%}–{row['maximum_high']:.0%}",
            "" if isnan(row["recovered"]) else f"{row['recovered']:.2f}",
        )
    return table


ATTACK = Command("tasks/attack", show, positional=("model", "attack"))
