"""Methods that a command chooses by name, and their settings as flags.

What a method can be told depends on which one was chosen, so the type of such a command is made
anew for each command line: its flags are the fields of the methods that are named there.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from typing import Annotated, Any, Literal, TypeVar

import tyro

from neuronscope._discover import method_names
from neuronscope.cli.flags import flags_of, summary

T = TypeVar("T")

NONE = "none"


@dataclass(frozen=True)
class Choice:
    """What a command chooses by name."""

    part: str
    """The command's field."""

    family: str
    """The folder in which the names are."""

    what: str
    """What it is, for the help."""

    optional: bool = True
    """A flag, with a default of the command's and perhaps none; or a positional argument."""


def with_flags(
    command: type[T], choices: Sequence[Choice], arguments: Sequence[str], without: tuple[str, ...]
) -> type[T]:
    """A command's type for a command line: with the flags of the methods that it names.

    Args:
        without: Settings that are the command's own.
    """
    parts, settings = [], []
    for choice in choices:
        parts.append(_field(command, choice))
        name = file_name(_named(command, choice, arguments))
        if name in method_names(choice.family):
            flags = flags_of(f"{choice.family}/{name}", without)
            settings.append((name, flags, field(default_factory=flags)))
    bases = (command,)
    made = make_dataclass(command.__name__, [*parts, *settings], bases=bases, frozen=True)
    made.__doc__ = command.__doc__
    return made


def is_chosen(command: object, choice: Choice) -> bool:
    """Whether there is a method, and not none."""
    return vars(command)[choice.part] != NONE


def chosen(command: object, choice: Choice) -> tuple[str, dict[str, Any]]:
    """The method that was chosen, by its file's name, and what it was told."""
    name = file_name(vars(command)[choice.part])
    return name, asdict(vars(command)[name])


def listed(family: str) -> str:
    """The names of a family with their first lines, for a flag's help."""
    names = method_names(family)
    return "\n".join(f"{flag_name(name)}: {summary(f'{family}/{name}')}" for name in names)


def flag_name(name: str) -> str:
    """A method as it is called on the command line."""
    return name.replace("_", "-")


def file_name(name: str) -> str:
    """A method as its file is called."""
    return name.replace("-", "_")


def _field(command: type, choice: Choice) -> tuple[Any, ...]:
    """The field that chooses a method, with all of them and their first lines as its help."""
    names = tuple(map(flag_name, method_names(choice.family)))
    told = tyro.conf.arg(
        help=f"{choice.what}\n\n{listed(choice.family)}", metavar=choice.part.upper()
    )
    if not choice.optional:
        return choice.part, Annotated[Literal[names], tyro.conf.Positional, told]
    default = getattr(command, choice.part)
    return choice.part, Annotated[Literal[(NONE, *names)], told], field(default=default)


def _named(command: type, choice: Choice, arguments: Sequence[str]) -> str:
    """The method that a command line names; empty if it names none."""
    if choice.optional:
        return _after(f"--{choice.part}", arguments) or getattr(command, choice.part)
    names = method_names(choice.family)
    found = [place for place, text in enumerate(arguments) if file_name(text) in names]
    # The model before it may be called as a method is, and so may the value of any flag.
    free = [place for place in found if not arguments[place - 1].startswith("--")]
    return arguments[(free or found)[-1]] if found else ""


def _after(flag: str, arguments: Sequence[str]) -> str | None:
    """What follows a flag, as `flag value` or as `flag=value`."""
    for place, argument in enumerate(arguments):
        if argument == flag and place + 1 < len(arguments):
            return arguments[place + 1]
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
    return None
