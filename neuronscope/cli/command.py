"""From a task's fields to a command's flags, and back to the task.

What a method can be told depends on which one was chosen, so the type of a command is made anew
for each command line: beside the task's own fields it has those of the methods named there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, make_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import tyro
from rich.console import Console

from neuronscope._discover import method_names
from neuronscope.cli.choosing import (
    choice_of,
    choices_of,
    chooser,
    chooser_of_several,
    named,
    named_among,
    settings_told,
)
from neuronscope.cli.flags import Setting, settings_in, title_of
from neuronscope.cli.wording import flag_name, in_flags, marker_of, told_of
from neuronscope.tasks import Facts, Loading, Method, Methods, Model, Recorded, Settings

SEED = "seed"
"""The setting of methods that is the task's own, where it has one."""

FOLDER = "Folder for the result. After an interruption, the same command resumes there."


@dataclass(frozen=True)
class Command:
    """A task on the command line."""

    module: str
    """The task's file, within the package and without its ending."""

    show: Callable[[Console, Any, Any, Path, Any], None]
    """Prints a result: told the console, the task, its result, the folder and further flags."""

    positional: tuple[str, ...] = ()
    """The fields that are given by their place; `out` for the folder."""

    out: str = FOLDER
    """The help of the folder."""

    also: type[Any] | None = None
    """Flags of the command alone, as a dataclass with defaults and a method `check`."""


@dataclass(frozen=True)
class Part:
    """One field of a command's type, and how the task's field is made from it."""

    name: str
    kind: Any
    default: Any

    flags: tuple[tuple[str, str], ...] = ()
    """The flag of each setting in it, by the setting's name."""


def command_type(command: Command, arguments: Sequence[str]) -> type[Any]:
    """A command's type for a command line: with the flags of the methods that it names."""
    name, text = title_of(command.module)
    parts = [*_parts(command, arguments), _folder(command)]
    if command.also is not None:
        parts.append(Part("output", command.also, field(default_factory=command.also)))
    # Fields that are given by their place have an order; those that must be given come next.
    order = {name: place for place, name in enumerate(command.positional)}
    parts.sort(key=lambda part: (order.get(part.name, len(order)), part.default is not MISSING))
    made = make_dataclass(
        name,
        [_field(part) for part in parts],
        bases=(_Command,),
        frozen=True,
        kw_only=True,
        namespace={"command": command, "flags": dict(flag for p in parts for flag in p.flags)},
    )
    made.__doc__ = text
    return made


def stand_in(command: Command) -> type[Any]:
    """A command's type where another command runs: its name and description alone."""
    name, text = title_of(command.module)
    made = make_dataclass(name, [])
    made.__doc__ = text
    return made


@dataclass(frozen=True)
class _Command:
    command: ClassVar[Command]
    flags: ClassVar[dict[str, str]]

    def run(self, console: Console) -> None:
        """Run the task, and show its result.

        Raises:
            ValueError: What is wrong, naming flags.
        """
        command, values = self.command, vars(self)
        also = values.get("output")
        try:
            task = task_of(command, values)
            if also is not None:
                also.check()
            result = task.run(values["out"])
        except (ValueError, OSError) as error:
            raise ValueError(in_flags(str(error), self.flags)) from error
        command.show(console, task, result, values["out"], also)


def task_of(command: Command, values: dict[str, Any]) -> Any:
    """The task that a parsed command line describes."""
    found = {}
    for setting in _shown(command):
        marker, value = marker_of(setting), values[setting.name]
        if isinstance(marker, Method):
            found[setting.name] = choice_of(marker.family, value, values)
        elif isinstance(marker, Methods):
            found[setting.name] = choices_of(marker.family, value, values)
        elif isinstance(marker, Settings):
            found[setting.name] = settings_told(value)
        elif setting.kind is Loading:
            found[setting.name] = Loading(**asdict(value))
        else:
            found[setting.name] = value
    task = import_module(f"neuronscope.{command.module.replace('/', '.')}")
    return vars(task)[title_of(command.module)[0]](**found)


def _parts(command: Command, arguments: Sequence[str]) -> Iterator[Part]:
    """The fields of a command's type, but for the folder."""
    settings = _shown(command)
    groups = {setting.name: group for setting in settings if (group := _group(setting))}
    taken = {"out"} | {setting.name for setting in settings}
    taken |= {item.name for group in groups.values() for item in settings_in(*group)}
    without = frozenset({SEED} & taken)
    for setting in settings:
        marker = marker_of(setting)
        names: list[str] = []
        if setting.name in groups:
            yield _nested(setting.name, *groups[setting.name])
        elif isinstance(marker, Method):
            place = setting.name in command.positional
            yield _part(command, setting, *chooser(setting, marker))
            names = [named(marker.family, setting, arguments, place)]
        elif isinstance(marker, Methods):
            yield _part(command, setting, *chooser_of_several(setting, marker))
            names = named_among(marker.family, setting.name, arguments)
        else:
            yield _part(command, setting, *_plain(setting))
        for name in names:
            assert isinstance(marker, Method | Methods), "only these name methods"
            if name in method_names(marker.family):
                prefixed = None if isinstance(marker, Methods) else frozenset(taken)
                yield _nested(name, f"{marker.family}/{name}", None, without, prefixed)


def _shown(command: Command) -> list[Setting]:
    """The task's fields that can be given on a command line."""
    settings = settings_in(command.module)
    return [setting for setting in settings if not isinstance(marker_of(setting), Recorded)]


def _group(setting: Setting) -> tuple[str, str] | None:
    """The dataclass whose fields are a group of flags, by its file and name."""
    marker = marker_of(setting)
    if isinstance(marker, Settings):
        return marker.module, marker.name
    return ("tasks/_task", Loading.__name__) if setting.kind is Loading else None


def _folder(command: Command) -> Part:
    told = tyro.conf.arg(help=command.out, metavar="FOLDER")
    place = (tyro.conf.Positional,) if "out" in command.positional else ()
    return Part("out", Annotated[(Path, *place, told)], MISSING)


def _plain(setting: Setting) -> tuple[Any, Any]:
    """Type and default of a field that is given as it is."""
    marker = marker_of(setting)
    kind = {Model: str, Facts: Path}.get(type(marker), setting.kind)
    if marker is not None and setting.default is None:
        kind = kind | None
    return Annotated[kind, told_of(setting)], setting.default


def _part(command: Command, setting: Setting, kind: Any, default: Any) -> Part:
    """A field that is given by its flag or by its place."""
    if setting.name in command.positional:
        return Part(setting.name, Annotated[kind, tyro.conf.Positional], default)
    return Part(setting.name, kind, default, ((setting.name, f"--{flag_name(setting.name)}"),))


def _nested(
    name: str,
    module: str,
    title: str | None,
    without: frozenset[str] = frozenset(),
    taken: frozenset[str] | None = frozenset(),
) -> Part:
    """A group of flags: the fields of another dataclass.

    Args:
        without: Fields that are left out, besides those that hold a model in memory.
        taken: Names that flags already have: flags of these fields begin with the group's name.
            If None, all flags of the group do.
    """
    inner, flags = [], []
    for setting in settings_in(module, title):
        if setting.name in without or object in (setting.kind, *get_args(setting.kind)):
            continue
        short = flag_name(setting.name)
        if taken is None or setting.name in taken:
            short = f"{flag_name(name)}.{short}"
        kind = str | None if isinstance(marker_of(setting), Model) else setting.kind
        annotated = Annotated[kind, told_of(setting, short)]
        inner.append(_field(Part(setting.name, annotated, setting.default)))
        flags.append((setting.name, f"--{short}"))
    called, text = title_of(module, title)
    made = make_dataclass(called, inner, frozen=True)
    made.__doc__ = text
    return Part(name, made, field(default_factory=made), tuple(flags))


def _field(part: Part) -> tuple[str, Any, Any]:
    default = part.default if isinstance(part.default, Field) else field(default=part.default)
    return part.name, part.kind, default
