"""The wording of flags: names, metavars, help, and error messages that name flags."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro

from neuronscope.cli.settings import Setting
from neuronscope.tasks import Marker, Model

FigureFormat = Annotated[
    Literal["svg", "pdf", "png"] | None,
    tyro.conf.arg(
        metavar="{svg,pdf,png}",
        help="Also write every figure of the report to a file in this format; needs "
        "pip install 'neuronscope[export]' (default: no files).",
        help_behavior_hint="",
    ),
]


def in_flags(text: str, flags: dict[str, str]) -> str:
    """Replace the fields named in an error message by their flags.

    A field is recognized by an underscore in its name, by surrounding backticks, by a following
    `=`, or in the phrase `Expected FIELD of`.
    """
    for name, flag in sorted(flags.items(), key=lambda pair: -len(pair[0])):
        word = re.escape(name)
        pattern = rf"`{word}`|(?<=Expected ){word}(?= of\b)|(?<![\w.\-/]){word}(?==)"
        if "_" in name:
            pattern += rf"|(?<![\w.\-/]){word}(?![\w.\-/])"
        text = re.sub(pattern, flag, text)
    return text


def marker_of(setting: Setting) -> Marker | None:
    """The marker of a field, if it has one."""
    if get_origin(setting.kind) is Annotated and isinstance(get_args(setting.kind)[1], Marker):
        return get_args(setting.kind)[1]
    return None


def flag_name(name: str) -> str:
    """The name of a field or method on the command line."""
    return name.replace("_", "-")


def file_name(name: str) -> str:
    """The name of a method's file."""
    return name.replace("-", "_")


def described(setting: Setting, name: str | None = None) -> Any:
    """The name, help and metavar of a setting's flag."""
    return tyro.conf.arg(
        help=setting.text,
        name=name,
        metavar=_metavar(setting),
        help_behavior_hint=hint_of(setting),
    )


def hint_of(setting: Setting) -> str | None:
    """The text shown for the default in the help.

    Empty if the docstring explains the default; None to let tyro show the value.
    """
    if setting.default is not None and setting.default != ():
        return None
    return "" if "(default:" in setting.text else "(default: none)"


def _metavar(setting: Setting) -> str | None:
    """The placeholder of the value; None to derive it from the type."""
    marker = marker_of(setting)
    if marker is not None:
        return "MODEL" if isinstance(marker, Model) else "PATH"
    kinds = [kind for kind in get_args(setting.kind) or (setting.kind,) if kind is not type(None)]
    kinds = [setting.kind] if get_origin(setting.kind) is tuple else kinds
    (kind, *others) = kinds
    many = get_origin(kind) is tuple and get_args(kind)[-1] is ...
    kind = get_args(kind)[0] if many else kind
    if get_origin(kind) is Literal:
        word = "{" + ",".join(map(str, get_args(kind))) + "}"
    else:
        word = {
            int: "NUMBER",
            float: "NUMBER",
            str: "NAME" if many else "TEXT",
            Path: "FOLDER" if "folder" in setting.name else "PATH",
        }.get(kind)
    if word is None or others:
        return None
    return f"{word} ..." if many else word
