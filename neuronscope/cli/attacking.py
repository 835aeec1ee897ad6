"""The command that tries to bring back what was forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope.cli.choosing import Choice, chosen, with_flags
from neuronscope.tasks.options import ModelOptions, PromptForm

if TYPE_CHECKING:
    import pandas as pd

CHOICES = (Choice("attack", "attacks", "How the forgotten is brought back.", optional=False),)


@dataclass(frozen=True)
class Attack:
    """Try to bring back what a model was made to forget, beside the same attack on controls.

    With the attack's name on the command line, --help also says what it can be told.
    """

    model: tyro.conf.Positional[str]
    """The checkpoint under attack: HF directory, hub id, adapter directory, or .gguf file."""

    attack: str

    facts: Path
    """The facts: those of split forget are to be brought back, those of retain are watched."""

    out: Path
    """Folder for the result. An interrupted attack goes on where it was."""

    original: str | None = None
    """The model before unlearning: attacked likewise, it shows the most that can come back."""

    never_knew: str | None = None
    """A model that never saw the facts: attacked likewise, it shows what the attack teaches any
    model."""

    form: PromptForm = "completion"
    """How a fact is taught."""

    asked: PromptForm | None = None
    """How a fact is asked; as it is taught, if not given."""

    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Attack, and say what came back."""
        from neuronscope.tasks.attacking import attack_checkpoint

        name, settings = chosen(self, CHOICES[0])
        controls = {"original": self.original, "never_knew": self.never_knew}
        done = attack_checkpoint(
            self.model,
            name,
            settings,
            self.facts,
            self.out,
            {name: source for name, source in controls.items() if source is not None},
            self.form,
            self.asked or self.form,
            self.loading,
        )
        console.print(_table(done.recovery))
        for line in done.readings:
            console.print(escape(line))
        for note in dict.fromkeys(filter(None, done.recovery["note"])):
            console.print(f"note: {escape(note)}")
        console.print(f"result: {escape(str(self.out))}", soft_wrap=True)


def attack_for(arguments: Sequence[str]) -> type[Attack]:
    """The command's type for a command line: with the flags of the attack that it names."""
    return with_flags(Attack, CHOICES, arguments, without=())


def _table(recovery: "pd.DataFrame") -> Table:
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
