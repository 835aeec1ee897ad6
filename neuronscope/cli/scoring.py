"""The command that says what a model still knows."""

from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope.cli.choosing import file_name, listed
from neuronscope.tasks.options import ModelOptions, PromptForm

if TYPE_CHECKING:
    import pandas as pd

WHICH = f"""What is measured; if not given, all that read and do not write, where the facts allow
it.

{listed("metrics")}"""


@dataclass(frozen=True)
class Score:
    """Score what a model still knows: of what it was to forget, and of what it was to keep."""

    model: tyro.conf.Positional[str]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Path
    """The facts, each with its split."""

    out: Path
    """Folder for the result. An interrupted call goes on where it was."""

    metrics: Annotated[tuple[str, ...], tyro.conf.arg(help=WHICH, metavar="METRIC ...")] = ()

    split: tuple[Literal["forget", "retain", "test", "utility"], ...] = ()
    """The splits that are scored; if not given, all that have facts."""

    reference: str | None = None
    """A model to compare with, mostly one that never saw the facts: some metrics need it."""

    holdout_split: Literal["forget", "retain", "test", "utility"] | None = None
    """The split whose facts no model ever saw: some metrics need one. Facts that unlearning did
    not see will not do if the model was taught them before."""

    form: PromptForm = "completion"
    """How a fact is put to the model."""

    tasks: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TASK ...")] = ()
    """Tasks of the LM Evaluation Harness (mmlu, hellaswag, ...), for what the model can do besides.
    It has to be installed: pip install 'neuronscope[harness]'."""

    task_folder: Path | None = None
    """Tasks of your own, as the harness's YAML files. They can name Python functions, which are
    run: give only a folder that you trust."""

    task_questions: int | None = None
    """How many of each task's questions are put, from the first; if not given, all."""

    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Score, and show every score."""
        from neuronscope.tasks.scoring import score_checkpoint

        done = score_checkpoint(
            self.model,
            self.facts,
            self.out,
            tuple(dict.fromkeys(map(file_name, self.metrics))),
            tuple(dict.fromkeys(self.split)),
            self.reference,
            self.holdout_split,
            self.form,
            self.loading,
            tuple(dict.fromkeys(self.tasks)),
            self.task_folder,
            self.task_questions,
        )
        for split, scores in done.scores.groupby("split", sort=False):
            console.print(_table(str(split), scores))
        if len(done.strata):
            console.print(_strata(done.strata))
        for what, count in done.depths.items():
            console.print(f"to be forgotten: {count} of {sum(done.depths.values())} {what}")
        for line in done.left_out:
            console.print(f"[yellow]not scored:[/yellow] {escape(line)}")
        console.print(f"result: {escape(str(self.out))}", soft_wrap=True)


def _strata(strata: "pd.DataFrame") -> Table:
    """What is answered, near the forgotten facts and far from them."""
    against = ("the reference", "p") if "reference" in strata else ()
    names = ("split", "which facts", "answered", "95 %", *against)
    table = Table(*names, title="answered word for word", title_justify="left")
    for row in strata.to_dict("records"):
        table.add_row(
            row["use"],
            row["stratum"],
            f"{row['correct']} of {row['n']}",
            f"{row['low']:.0%}–{row['high']:.0%}",
            *((str(row["reference"]), f"{row['p']:.2g}") if against else ()),
        )
    return table


def _table(split: str, scores: "pd.DataFrame") -> Table:
    """Every score of a split, with what is needed to read it."""
    title = "tasks of the LM Evaluation Harness" if split == "tasks" else f"facts of split {split}"
    table = Table(
        "metric", "value", "95 %", "n", "chance", "read", title=title, title_justify="left"
    )
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
