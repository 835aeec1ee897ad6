"""How fields are called on the command line: flags, metavars, help, and errors that name flags."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro

from neuronscope.cli.flags import Setting
from neuronscope.tasks import Marker, Model


def in_flags(text: str, flags: dict[str, str]) -> str:
    """An error's text with the flags in the place of the fields that it names.

    A field is recognised by an underscore in its name, by backticks around it, by `=` behind it,
    or where the text says `Expected FIELD of`.
    """
    for name, flag in sorted(flags.items(), key=lambda pair: -len(pair[0])):
        word = re.escape(name)
        said = rf"`{word}`|(?<=Expected ){word}(?= of\b)|(?<![\w.\-/]){word}(?==)"
        if "_" in name:
            said += rf"|(?<![\w.\-/]){word}(?![\w.\-/])"
        text = re.sub(said, flag, text)
    return text


def marker_of(setting: Setting) -> Marker | None:
    """What a field holds, where its type does not say it."""
    if get_origin(setting.kind) is Annotated and isinstance(get_args(setting.kind)[1], Marker):
        return get_args(setting.kind)[1]
    return None


def flag_name(name: str) -> str:
    """A field or method as it is called on the command line."""
    return name.replace("_", "-")


def file_name(name: str) -> str:
    """A method as its file is called."""
    return name.replace("-", "_")


def told_of(setting: Setting, name: str | None = None) -> Any:
    """How a flag is called and explained."""
    return tyro.conf.arg(
        help=setting.text,
        name=name,
        metavar=_metavar(setting),
        help_behavior_hint=hint_of(setting),
    )


def hint_of(setting: Setting) -> str | None:
    """What happens without a flag; the text says it where the default cannot, None: the default."""
    if setting.default is not None and setting.default != ():
        return None
    return "" if "(default:" in setting.text else "(default: none)"


def _metavar(setting: Setting) -> str | None:
    """What is wanted, in one word; None where the type's own words are better."""
    marker = marker_of(setting)
    if marker is not None:
        return "MODEL" if isinstance(marker, Model) else "FILE"
    kinds = [kind for kind in get_args(setting.kind) or (setting.kind,) if kind is not type(None)]
    kinds = [setting.kind] if get_origin(setting.kind) is tuple else kinds
    (kind, *others) = kinds
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    many = get_origin(kind) is tuple and get_args(kind)[-1] is ...
    word = {
        int: "NUMBER",
        float: "NUMBER",
        str: "NAME" if many else "TEXT",
        Path: "FOLDER" if "folder" in setting.name else "PATH",
    }.get(get_args(kind)[0] if many else kind)
    if word is None or others:
        return None
    return f"{word} ..." if many else word
