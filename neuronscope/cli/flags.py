"""The settings of a method, read from its file without importing it.

Importing a method imports torch, which takes seconds, and `--help` must not. So the fields of a
frozen dataclass are read from its source: name, type, default and docstring, those of its bases
first, as `dataclasses` orders them.
"""

import ast
from collections.abc import Iterator
from dataclasses import field, make_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from neuronscope._discover import main_class

PACKAGE = Path(__file__).parents[1]

BUILT_IN = {kind.__name__: kind for kind in (bool, int, float, str, tuple, Path)} | {
    "Literal": Literal
}
"""What the type of a setting may be made of, besides names of the package's own."""


def flags_of(module: str, without: tuple[str, ...] = ()) -> type[Any]:
    """A dataclass with the settings of the one concrete dataclass that a module defines.

    Its instances hold plain values; whoever needs the method makes it from them.

    Args:
        module: The file within the package without its ending, e.g. `objectives/npo`.
        without: Settings that are left out.
    """
    source = _Source(PACKAGE / f"{module}.py")
    settings = [
        (name, Annotated[kind, tyro.conf.arg(help=text)], field(default=default))
        for name, (kind, default, text) in source.settings(source.main).items()
        if name not in without
    ]
    made = make_dataclass(source.main, settings, frozen=True)
    made.__doc__ = source.text_of(source.main)
    return made


def summary(module: str) -> str:
    """The first line of a method's file, read without importing it."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


class _Source(dict[str, Any]):
    """A file's own names and those that it imports from the package, evaluated when asked for."""

    def __init__(self, path: Path):
        super().__init__(BUILT_IN)
        self.text = path.read_text(encoding="utf-8")
        tree = ast.parse(self.text)
        self.classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        self.constants = {
            node.targets[0].id: node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }
        self.homes = {
            name.asname or name.name: _path(node.module)
            for node in tree.body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("neuronscope.")
            for name in node.names
        }

    def __missing__(self, name: str) -> Any:
        if name in self.constants:
            return self.value(self.constants[name])
        if name in self.homes:
            return _source(self.homes[name])[name]
        raise KeyError(name)

    @property
    def main(self) -> str:
        """The class of the method, if the file is one's."""
        return main_class(self.text)

    def value(self, expression: ast.expr) -> Any:
        """What an expression of this package's own source evaluates to."""
        return eval(compile(ast.Expression(expression), "<settings>", "eval"), {}, self)

    def text_of(self, name: str) -> str:
        """A class's docstring."""
        return ast.get_docstring(self.classes[name]) or ""

    def settings(self, name: str) -> dict[str, tuple[Any, Any, str]]:
        """Type, default and docstring of each field of a class, by name."""
        if name not in self.classes:
            return _source(self.homes[name]).settings(name) if name in self.homes else {}
        node = self.classes[name]
        found: dict[str, tuple[Any, Any, str]] = {}
        for base in reversed(node.bases):
            found |= self.settings(ast.unparse(base))
        for item, text in _fields(node):
            assert isinstance(item.target, ast.Name) and item.value is not None, ast.unparse(item)
            found[item.target.id] = self.value(item.annotation), self.value(item.value), text
        return found


@cache
def _source(path: Path) -> _Source:
    return _Source(path)


def _path(module: str | None) -> Path:
    folder = PACKAGE.parent.joinpath(*(module or "").split("."))
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


def _fields(node: ast.ClassDef) -> Iterator[tuple[ast.AnnAssign, str]]:
    """The annotated fields of a class's body, each with the docstring below it."""
    for place, item in enumerate(node.body):
        if not isinstance(item, ast.AnnAssign) or "ClassVar" in ast.unparse(item.annotation):
            continue
        below = node.body[place + 1] if place + 1 < len(node.body) else None
        text = below.value if isinstance(below, ast.Expr) else None
        yield item, " ".join(str(text.value).split()) if isinstance(text, ast.Constant) else ""
