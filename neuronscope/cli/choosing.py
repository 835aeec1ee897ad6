"""Methods that a command line names: their flags' help, and what they were told."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import tyro

from neuronscope._discover import method_names
from neuronscope.cli.flags import Setting, summary
from neuronscope.cli.wording import file_name, flag_name, hint_of
from neuronscope.tasks import Method, Methods

NONE = "none"


def named(family: str, setting: Setting, arguments: Sequence[str], positional: bool) -> str:
    """The method that a command line names, or the default; empty if there is neither."""
    if not positional:
        default = setting.default if isinstance(setting.default, str) else NONE
        found = _after(f"--{flag_name(setting.name)}", arguments)
        return file_name(found[0] if found else default)
    names = method_names(family)
    found = [place for place, text in enumerate(arguments) if file_name(text) in names]
    # The model before it may be called as a method is, and so may the value of any flag.
    free = [place for place in found if not arguments[place - 1].startswith("--")]
    return file_name(arguments[(free or found)[-1]]) if found else ""


def named_among(family: str, name: str, arguments: Sequence[str]) -> list[str]:
    """The methods that a command line names after a flag, or whose settings it gives."""
    named = {file_name(text) for text in _after(f"--{flag_name(name)}", arguments)}
    told = {file_name(text[2:].partition(".")[0]) for text in arguments if text.startswith("--")}
    return [file for file in method_names(family) if file in named | told]


def _after(flag: str, arguments: Sequence[str]) -> list[str]:
    """What follows a flag, as `flag value ...` or as `flag=value`."""
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return [argument.partition("=")[2]]
        if argument == flag:
            rest = list(arguments[place + 1 :])
            ends = [at for at, text in enumerate(rest) if text.startswith("--")]
            return rest[: ends[0]] if ends else rest
    return []


def choice_of(family: str, name: str, values: dict[str, Any]) -> Any:
    """A method by its name, with what it was told."""
    if name == NONE:
        return None
    file = file_name(name)
    if file not in method_names(family):
        raise ValueError(
            f"No {family} called {name!r}: there are "
            f"{', '.join(map(flag_name, method_names(family)))}."
        )
    told = settings_told(values[file]) if file in values else None
    return {"name": name, **told} if told else name


def choices_of(family: str, names: tuple[str, ...] | None, values: dict[str, Any]) -> Any:
    """Several methods; those that were told something take the place of their names."""
    told = {
        file: {"name": flag_name(file), **settings}
        for file in method_names(family)
        if file in values and (settings := settings_told(values[file]))
    }
    if names is None:
        return list(told.values()) or None
    chosen = [told.pop(file_name(name), name) for name in names]
    return [*chosen, *told.values()]


def settings_told(group: Any) -> dict[str, Any] | None:
    """The settings of a group of flags that differ from the defaults."""
    defaults = asdict(type(group)())
    told = {name: value for name, value in asdict(group).items() if value != defaults[name]}
    return told or None


def chooser(setting: Setting, marker: Method) -> tuple[Any, Any]:
    """Type and default of a field that names a method, explained by all that there are."""
    told = tyro.conf.arg(
        help=_listed(setting, marker),
        metavar=setting.name.upper(),
        help_behavior_hint=hint_of(setting),
    )
    return Annotated[str, told], NONE if setting.default is None else setting.default


def chooser_of_several(setting: Setting, marker: Methods) -> tuple[Any, Any]:
    """Type and default of a field that names several methods."""
    word = setting.name.upper().removesuffix("S")
    text = f"Settings of one: --NAME.SETTING (--{setting.name} NAME --help shows them)."
    told = tyro.conf.arg(
        help=_listed(setting, marker, text),
        metavar=f"{word} ...",
        help_behavior_hint=hint_of(setting),
    )
    default = (setting.default,) if isinstance(setting.default, str) else setting.default
    kind = tuple[str, ...] if default is not None else tuple[str, ...] | None
    return Annotated[kind, told], default


def _listed(setting: Setting, marker: Method | Methods, text: str = "") -> str:
    names = method_names(marker.family)
    lines = [f"{flag_name(name)}: {summary(f'{marker.family}/{name}')}" for name in names]
    return f"{setting.text} {text}".strip() + "\n\n" + "\n".join(lines)
