"""The one convention: a file in a family's folder is a method, and named as the method is."""

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLASS = re.compile(r"^class ([A-Z]\w*)(\(?)", re.MULTILINE)
"""A public class at a file's top level, and whether it extends another."""


def method_names(family: str) -> tuple[str, ...]:
    """The methods of a family, by name: found by looking at its folder, without importing any.

    Args:
        family: A folder of the package. Its files that start with `_` are shared parts.
    """
    folder = Path(__file__).parent / family
    return tuple(sorted(f.stem for f in folder.glob("*.py") if not f.name.startswith("_")))


def main_class(source: str) -> str:
    """The name of a method's class, found without importing its file.

    It is the last public class that extends another, or the last public one.

    Args:
        source: What the file holds.
    """
    found = CLASS.findall(source)
    return ([name for name, extends in found if extends] or [name for name, _ in found])[-1]


def method_classes(families: tuple[str, ...]) -> list[tuple[str, str]]:
    """The class of every method of some families, and its module within the package.

    Nothing is imported. A class name occurs twice if two methods have it.
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
        ValueError: If there is no such method, or its file does not define exactly one.
    """
    names = method_names(family)
    if name not in names:
        raise ValueError(f"No {family} called {name!r}: there are {', '.join(names)}.")
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
            f"neuronscope/{family}/{name}.py must define exactly one {base.__name__}, "
            f"it defines {len(found)}."
        )
    return found[0]
