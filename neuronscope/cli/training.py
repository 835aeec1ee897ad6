"""Commands that train a model.

What an objective, a regularizer and a stop rule can be told depends on which of them were chosen,
so the type of `unlearn` is made anew for each command line: its flags are their fields.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from neuronscope._discover import method_names
from neuronscope.flags import flags_of, summary
from neuronscope.options import ModelOptions

if TYPE_CHECKING:
    from neuronscope.training import Run

NONE = "none"

TrainingOptions = flags_of("training/config")

FAMILIES = {"objective": "objectives", "regularizer": "regularizers", "stop": "stopping"}
"""What is chosen by name, and the folder in which the names are."""

WHAT = {
    "objective": "What is minimised, on the facts to be forgotten and those to be kept.",
    "regularizer": "What is added to the objective.",
    "stop": "When to stop; at the latest after --steps.",
}

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
        from neuronscope.commands.training import unlearn_model

        chosen = {family: _file(vars(self)[part]) for part, family in FAMILIES.items()}
        run = unlearn_model(
            self.model,
            self.facts,
            self.out,
            {
                family: (name, asdict(vars(self)[name]))
                for family, name in chosen.items()
                if name != NONE
            },
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

    training: Any = field(default_factory=TrainingOptions)
    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Teach, and say what is answered."""
        from neuronscope.commands.training import finetune_model

        run = finetune_model(
            self.model,
            self.facts,
            self.out,
            self.splits,
            asdict(self.training),
            self.loading,
        )
        _report(console, run, self.out)


def unlearn_for(arguments: Sequence[str]) -> type[Unlearn]:
    """The command's type for a command line: with the flags of the methods that it names."""
    named = {
        "objective": next((a for a in arguments if _file(a) in method_names("objectives")), None),
        "regularizer": _after("--regularizer", arguments) or Unlearn.regularizer,
        "stop": _after("--stop", arguments) or Unlearn.stop,
    }
    choices, settings = [], []
    for part, family in FAMILIES.items():
        choices.append(_choice(part, family))
        if _file(named[part] or NONE) in method_names(family):
            flags = flags_of(f"{family}/{_file(named[part])}", without=(SHARED,))
            settings.append((_file(named[part]), flags, field(default_factory=flags)))
    made = make_dataclass("Unlearn", [*choices, *settings], bases=(Unlearn,), frozen=True)
    made.__doc__ = Unlearn.__doc__
    return made


def _choice(part: str, family: str) -> tuple[Any, ...]:
    """The field that chooses a method, with all of them and their first lines as its help."""
    names = method_names(family)
    listed = "\n".join(f"{_flag(name)}: {summary(f'{family}/{name}')}" for name in names)
    told = tyro.conf.arg(help=f"{WHAT[part]}\n\n{listed}", metavar=part.upper())
    if part == "objective":
        return part, Annotated[Literal[tuple(map(_flag, names))], tyro.conf.Positional, told]
    with_none = Literal[(NONE, *map(_flag, names))]
    return part, Annotated[with_none, told], field(default=getattr(Unlearn, part))


def _after(flag: str, arguments: Sequence[str]) -> str | None:
    """What follows a flag, as `flag value` or as `flag=value`."""
    for place, argument in enumerate(arguments):
        if argument == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
    return None


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _file(name: str) -> str:
    return name.replace("-", "_")


def _report(console: Console, run: "Run", out: Path) -> None:
    from neuronscope.commands.training import summary as lines_of

    for line in lines_of(run):
        console.print(escape(line))
    console.print(f"model: {escape(str(out / 'model'))}", soft_wrap=True)
