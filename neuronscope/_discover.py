"""Discover methods by one convention: each file in a family's folder is a method of that name."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLASS = re.compile(r"^class ([A-Z]\w*)(\(?)", re.MULTILINE)
"""A public class at a file's top level; the second group is `(` if it extends another."""


def method_names(family: str) -> tuple[str, ...]:
    """The names of a family's methods, from its folder, without importing them.

    Args:
        family: A folder of the package. Files that start with `_` are shared parts.
    """
    folder = Path(__file__).parent / family
    return tuple(sorted(f.stem for f in folder.glob("*.py") if not f.name.startswith("_")))


def main_class(source: str) -> str:
    """The name of a method's class, without importing its file.

    It is the last public class that extends another class, or else the last public class.

    Args:
        source: The file's text.
    """
    classes = CLASS.findall(source)
    return ([name for name, extends in classes if extends] or [name for name, _ in classes])[-1]


def method_classes(families: tuple[str, ...]) -> list[tuple[str, str]]:
    """The class name of every method of these families, and its module within the package.

    Nothing is imported. A class name occurs twice if two methods share it.
    """
    package = Path(__file__).parent
    return [
        (main_class((package / family / f"{name}.py").read_text("utf-8")), f"{family}.{name}")
        for family in families
        for name in method_names(family)
    ]


def method_class(family: str, name: str, base: type[T]) -> type[T]:
    """The class of one method: the public, concrete subclass of `base` that its file defines.

    Raises:
        ValueError: If there is no such method, or its file does not define exactly one class.
    """
    names = method_names(family)
    if name not in names:
        raise ValueError(f"No {family} called {name!r}: expected one of {', '.join(names)}.")
    module = import_module(f"neuronscope.{family.replace('/', '.')}.{name}")
    found = [
        member
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, base)
        and not inspect.isabstract(member)
        and not member.__name__.startswith("_")
        and member.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ValueError(
            f"neuronscope/{family}/{name}.py must define exactly one {base.__name__}, but defines "
            f"{len(found)}."
        )
    return found[0]
