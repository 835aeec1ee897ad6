"""Flags that choose a method: their help, and the methods and settings given on a command line."""

from collections.abc import Sequence
from dataclasses import MISSING, asdict
from typing import Annotated, Any

import tyro

from neuronscope._discover import method_names
from neuronscope.cli.settings import Setting, summary
from neuronscope.cli.wording import file_name, flag_name
from neuronscope.tasks import Method, Methods

NONE = "none"


def named(family: str, setting: Setting, arguments: Sequence[str], positional: bool) -> str:
    """The method named on a command line, or the default; empty if there is neither."""
    if not positional:
        default = setting.default if isinstance(setting.default, str) else NONE
        values = _after(f"--{flag_name(setting.name)}", arguments)
        return file_name(values[0] if values else default)
    names = method_names(family)
    places = [place for place, text in enumerate(arguments) if file_name(text) in names]
    # A method's name may also occur as the preceding model's path, or as the value of a flag.
    free = [place for place in places if not arguments[place - 1].startswith("--")]
    return file_name(arguments[(free or places)[-1]]) if places else ""


def named_among(family: str, name: str, arguments: Sequence[str]) -> list[str]:
    """The methods named after a flag on a command line, and those with settings given."""
    named = {file_name(text) for text in _after(f"--{flag_name(name)}", arguments)}
    flags = [text[2:] for text in arguments if text.startswith("--")]
    configured = {file_name(flag.partition(".")[0]) for flag in flags}
    return [file for file in method_names(family) if file in named | configured]


def _after(flag: str, arguments: Sequence[str]) -> list[str]:
    """The values of a flag, given as `flag value ...` or as `flag=value`."""
    for place, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return [argument.partition("=")[2]]
        if argument == flag:
            rest = list(arguments[place + 1 :])
            ends = [at for at, text in enumerate(rest) if text.startswith("--")]
            return rest[: ends[0]] if ends else rest
    return []


def choice_of(family: str, name: str, values: dict[str, Any]) -> Any:
    """A method by its name, with the settings given for it."""
    if name == NONE:
        return None
    file = file_name(name)
    if file not in method_names(family):
        names = ", ".join(map(flag_name, method_names(family)))
        raise ValueError(f"No {family} called {name!r}: expected one of {names}.")
    settings = changed_settings(values[file]) if file in values else None
    return {"name": name, **settings} if settings else name


def choices_of(family: str, names: tuple[str, ...] | None, values: dict[str, Any]) -> Any:
    """Several methods by their names, with the settings given for them."""
    configured = {
        file: {"name": flag_name(file), **settings}
        for file in method_names(family)
        if file in values and (settings := changed_settings(values[file]))
    }
    if names is None:
        return list(configured.values()) or None
    chosen = [configured.pop(file_name(name), name) for name in names]
    return [*chosen, *configured.values()]


def changed_settings(group: Any) -> dict[str, Any] | None:
    """The settings of a group of flags that differ from the defaults."""
    defaults = asdict(type(group)())
    changed = {name: value for name, value in asdict(group).items() if value != defaults[name]}
    return changed or None


def chooser(setting: Setting, marker: Method) -> tuple[Any, Any]:
    """Type and default of a flag that names a method; its help lists the methods."""
    shown = tyro.conf.arg(
        help=_listed(setting, marker),
        metavar=setting.name.upper(),
        help_behavior_hint=None if setting.default is MISSING else "",
    )
    return Annotated[str, shown], NONE if setting.default is None else setting.default


def chooser_of_several(setting: Setting, marker: Methods) -> tuple[Any, Any]:
    """Type and default of a flag that names several methods."""
    noun = setting.name.upper().removesuffix("S")
    text = (
        f"Options of a method are set with --NAME.OPTION; `--{setting.name} NAME --help` lists "
        "them."
    )
    shown = tyro.conf.arg(
        help=_listed(setting, marker, text),
        metavar=f"{noun} ...",
        help_behavior_hint="",
    )
    default = (setting.default,) if isinstance(setting.default, str) else setting.default
    kind = tuple[str, ...] if default is not None else tuple[str, ...] | None
    return Annotated[kind, shown], default


def _listed(setting: Setting, marker: Method | Methods, text: str = "") -> str:
    """A field's text and default, then each method with the first line of its file."""
    names = method_names(marker.family)
    lines = [f"{flag_name(name)}: {summary(f'{marker.family}/{name}')}" for name in names]
    default = f" (default: {setting.default})" if isinstance(setting.default, str) else ""
    first = setting.text.removesuffix(".") + default + "." if default else setting.text
    return f"{first} {text}".strip() + "\n\n" + "\n".join(lines)
