"""Commands that train a model."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.console import Console
from rich.markup import escape

from neuronscope.cli.choosing import NONE, Choice, chosen, is_chosen, with_flags
from neuronscope.cli.flags import flags_of
from neuronscope.tasks.options import ModelOptions

if TYPE_CHECKING:
    from neuronscope.training import Run

TrainingOptions = flags_of("training/config")

CHOICES = (
    Choice(
        "objective",
        "objectives",
        "What is minimised, on the facts to be forgotten and those to be kept.",
        optional=False,
    ),
    Choice("regularizer", "regularizers", "What is added to the objective."),
    Choice("stop", "stopping", "When to stop; at the latest after --steps."),
)

SHARED = "seed"
"""The one setting that training and methods have in common; the command line has it once."""


@dataclass(frozen=True)
class Unlearn:
    """Make a model forget: an objective, perhaps a regularizer, and a rule when to stop.

    With their names on the command line, --help also says what each can be told.
    """

    model: tyro.conf.Positional[str]
    """HF directory, hub id, adapter directory, or .gguf file."""

    objective: str

    facts: Path
    """The facts, each with its split: those of forget are to go, those of retain to stay."""

    out: Path
    """Folder for the result. An interrupted run goes on where it was."""

    regularizer: str = NONE
    stop: str = "forget-accuracy"

    training: Any = field(default_factory=TrainingOptions)
    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Unlearn, and say what became of the facts."""
        from neuronscope.tasks.training import unlearn_model

        run = unlearn_model(
            self.model,
            self.facts,
            self.out,
            {choice.family: chosen(self, choice) for choice in CHOICES if is_chosen(self, choice)},
            asdict(self.training),
            self.loading,
        )
        _report(console, run, self.out)
        console.print(
            "Was it erased? neuronscope diagnose "
            f"--before {escape(self.model)} --after {escape(str(self.out / 'model'))} "
            f"--facts {escape(str(self.facts))} --out DIR",
            soft_wrap=True,
        )


@dataclass(frozen=True)
class Finetune:
    """Teach a model facts: for a model that has something to forget."""

    model: tyro.conf.Positional[str]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Path
    """The facts."""

    out: Path
    """Folder for the result. An interrupted run goes on where it was."""

    splits: tuple[str, ...] = ("forget", "retain")
    """The splits that are taught."""

    teach_end: bool = False
    """Also teach that the text ends behind each answer, as TOFU does. For answers to questions."""

    training: Any = field(default_factory=TrainingOptions)
    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Teach, and say what is answered."""
        from neuronscope.tasks.training import finetune_model

        run = finetune_model(
            self.model,
            self.facts,
            self.out,
            self.splits,
            self.teach_end,
            asdict(self.training),
            self.loading,
        )
        _report(console, run, self.out)


def unlearn_for(arguments: Sequence[str]) -> type[Unlearn]:
    """The command's type for a command line: with the flags of the methods that it names."""
    return with_flags(Unlearn, CHOICES, arguments, without=(SHARED,))


def _report(console: Console, run: "Run", out: Path) -> None:
    from neuronscope.tasks.training import summary as lines_of

    for line in lines_of(run):
        console.print(escape(line))
    console.print(f"model: {escape(str(out / 'model'))}", soft_wrap=True)
