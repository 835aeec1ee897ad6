"""The command that scores a model."""

from math import isnan
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope.cli.command import Command


def show(console: Console, task: Any, scored: Any, out: Path, also: Any) -> None:
    """Print every score."""
    del task, also
    if len(scored.scores):
        for split, scores in scored.scores.groupby("split", sort=False):
            console.print(_table(str(split), scores))
    if len(scored.strata):
        console.print(_strata(scored.strata))
    for depth, count in scored.depths.items():
        console.print(f"facts to forget: {count} of {sum(scored.depths.values())} {depth}")
    for line in scored.left_out:
        console.print(f"[yellow]not scored:[/yellow] {escape(line)}")
    console.print(f"result: {escape(str(out))}", soft_wrap=True)


def _strata(strata: Any) -> Table:
    """Answered facts by stratum, from close to the forget set to far from it."""
    against = ("reference", "p") if "reference" in strata else ()
    names = ("split", "facts", "answered", "95 %", *against)
    table = Table(*names, title="facts answered verbatim", title_justify="left")
    for row in strata.to_dict("records"):
        table.add_row(
            row["use"],
            row["stratum"],
            f"{row['correct']} of {row['n']}",
            f"{row['low']:.0%}–{row['high']:.0%}",
            *((str(row["reference"]), f"{row['p']:.2g}") if against else ()),
        )
    return table


def _table(split: str, scores: Any) -> Table:
    """The scores of one split, with intervals, chance levels and how to read them."""
    title = "tasks of the LM Evaluation Harness" if split == "tasks" else f"split {split}"
    columns = ("metric", "value", "95 %", "n", "chance", "interpretation")
    table = Table(*columns, title=title, title_justify="left")
    for row, counted in zip(scores.to_dict("records"), scores["count"].notna(), strict=True):
        table.add_row(
            escape(row["metric"].replace("_", " ")),
            "none" if isnan(row["value"]) else f"{row['value']:.3g}",
            "" if isnan(row["low"]) else f"{row['low']:.3g} to {row['high']:.3g}",
            f"{row['count']} of {row['n']}" if counted else str(row["n"]),
            "" if isnan(row["chance"]) else f"{row['chance']:.3g}",
            escape(row["direction"] + (f"; {row['reason']}" if row["reason"] else "")),
        )
    return table


SCORE = Command("tasks/score", show, positional=("model",))
