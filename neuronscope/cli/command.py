"""From the fields of a task to the flags of a command, and back.

The available settings depend on the chosen methods, so the type of a command is built for each
command line: it has the fields of the task and those of the methods named on the command line.
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
    changed_settings,
    choice_of,
    choices_of,
    chooser,
    chooser_of_several,
    named,
    named_among,
)
from neuronscope.cli.settings import Setting, own_fields, settings_in, title_of
from neuronscope.cli.wording import described, flag_name, in_flags, marker_of
from neuronscope.tasks import Facts, Loading, Method, Methods, Model, Recorded, Settings

SEED = "seed"
"""The setting of methods that a task fills in from its own field of this name, if it has one."""

FOLDER = "Folder for the result. After an interruption, the same command resumes."


@dataclass(frozen=True)
class Command:
    """A task on the command line."""

    module: str
    """The task's file, relative to the package and without its suffix."""

    show: Callable[[Console, Any, Any, Path, Any], None]
    """Prints a result, given the console, task, result, folder and further flags."""

    positional: tuple[str, ...] = ()
    """The fields that are positional arguments; `out` for the folder."""

    out: str = FOLDER
    """The help text of the folder."""

    also: type[Any] | None = None
    """Further flags of the command, as a dataclass with defaults and a method `check`."""


@dataclass(frozen=True)
class Part:
    """One field of a command's type."""

    name: str
    kind: Any
    default: Any

    flags: tuple[tuple[str, str], ...] = ()
    """The flag of each setting in the field, by the name of the setting."""


def command_type(command: Command, arguments: Sequence[str]) -> type[Any]:
    """A command's type for a command line, with the flags of the methods named there."""
    name, text = title_of(command.module)
    parts = [*_parts(command, arguments), _folder(command)]
    if command.also is not None:
        parts.append(Part("output", command.also, field(default_factory=command.also)))
    # Positional arguments have a fixed order; required flags come next, loading options last.
    order = {name: place for place, name in enumerate(command.positional)}
    parts.sort(
        key=lambda part: (
            order.get(part.name, len(order)),
            part.default is not MISSING,
            part.name == "loading",
        )
    )
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
    """A command's type when another command runs: its name and a one-line description."""
    name, text = title_of(command.module)
    made = make_dataclass(name, [])
    made.__doc__ = text.partition("\n\n")[0]
    return made


@dataclass(frozen=True)
class _Command:
    command: ClassVar[Command]
    flags: ClassVar[dict[str, str]]

    def run(self, console: Console) -> None:
        """Run the task and print its result.

        Raises:
            ValueError: If the task cannot be computed; the message names flags.
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
    """The task described by a parsed command line."""
    fields = {}
    for setting in _shown(command):
        marker, value = marker_of(setting), values[setting.name]
        if isinstance(marker, Method):
            fields[setting.name] = choice_of(marker.family, value, values)
        elif isinstance(marker, Methods):
            fields[setting.name] = choices_of(marker.family, value, values)
        elif isinstance(marker, Settings):
            fields[setting.name] = changed_settings(value)
        elif setting.kind is Loading:
            fields[setting.name] = Loading(**asdict(value))
        else:
            fields[setting.name] = value
    task = import_module(f"neuronscope.{command.module.replace('/', '.')}")
    return vars(task)[title_of(command.module)[0]](**fields)


def _parts(command: Command, arguments: Sequence[str]) -> Iterator[Part]:
    """The fields of a command's type, except for the folder."""
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
            assert isinstance(marker, Method | Methods), "no other field names methods"
            if name in method_names(marker.family):
                prefixed = None if isinstance(marker, Methods) else frozenset(taken)
                yield _nested(name, f"{marker.family}/{name}", None, without, prefixed)


def _shown(command: Command) -> list[Setting]:
    """The task's fields that have a flag: its own fields, then those of its bases."""
    shown = [s for s in settings_in(command.module) if not isinstance(marker_of(s), Recorded)]
    own = own_fields(command.module)
    return sorted(shown, key=lambda setting: setting.name not in own)


def _group(setting: Setting) -> tuple[str, str] | None:
    """The file and name of the dataclass whose fields form a group of flags."""
    marker = marker_of(setting)
    if isinstance(marker, Settings):
        return marker.module, marker.name
    return ("tasks/_task", Loading.__name__) if setting.kind is Loading else None


def _folder(command: Command) -> Part:
    shown = tyro.conf.arg(help=command.out, metavar="FOLDER")
    place = (tyro.conf.Positional,) if "out" in command.positional else ()
    return Part("out", Annotated[(Path, *place, shown)], MISSING)


def _plain(setting: Setting) -> tuple[Any, Any]:
    """Type and default of a field that names no method and forms no group."""
    marker = marker_of(setting)
    kind = {Model: str, Facts: Path}.get(type(marker), setting.kind)
    if marker is not None and setting.default is None:
        kind = kind | None
    return Annotated[kind, described(setting)], setting.default


def _part(command: Command, setting: Setting, kind: Any, default: Any) -> Part:
    """A field that is a flag or a positional argument."""
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
        without: Fields to leave out, in addition to those that hold a model in memory.
        taken: Names of existing flags; fields of these names get the group's name as a prefix. If
            None, all fields do.
    """
    inner, flags = [], []
    for setting in settings_in(module, title):
        if setting.name in without or object in (setting.kind, *get_args(setting.kind)):
            continue
        short = flag_name(setting.name)
        if taken is None or setting.name in taken:
            short = f"{flag_name(name)}.{short}"
        kind = str | None if isinstance(marker_of(setting), Model) else setting.kind
        annotated = Annotated[kind, described(setting, short)]
        inner.append(_field(Part(setting.name, annotated, setting.default)))
        flags.append((setting.name, f"--{short}"))
    called, text = title_of(module, title)
    made = make_dataclass(called, inner, frozen=True)
    made.__doc__ = text
    return Part(name, made, field(default_factory=made), tuple(flags))


def _field(part: Part) -> tuple[str, Any, Any]:
    default = part.default if isinstance(part.default, Field) else field(default=part.default)
    return part.name, part.kind, default
