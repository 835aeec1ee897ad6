"""The settings of a task or method, read from its file without importing it.

Importing a method imports torch, which takes seconds, too long for `--help`. The fields of a frozen
dataclass are therefore read from its source: name, type, default and docstring, with the fields of
its bases first, as in `dataclasses`.
"""

import ast
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from neuronscope import tasks
from neuronscope._discover import main_class

PACKAGE = Path(__file__).parents[1]

KNOWN = {kind.__name__: kind for kind in (bool, int, float, str, tuple, Path)} | {
    "Annotated": Annotated,
    "Any": Any,
    "Literal": Literal,
    "field": field,
    # A model in memory, which cannot be given as a flag.
    "HookedModel": object,
    **{name: vars(tasks)[name] for name in tasks.__all__},
}
"""Names that the types of settings may use, in addition to the names in their file."""


@dataclass(frozen=True)
class Setting:
    """One field of a task or method."""

    name: str
    kind: Any

    default: Any
    """`dataclasses.MISSING` if there is none; a `dataclasses.Field` if there is a factory."""

    text: str
    """The field's docstring, in one line."""


def settings_in(module: str, name: str | None = None) -> tuple[Setting, ...]:
    """The fields of a dataclass.

    Args:
        module: Its file, relative to the package and without the suffix, e.g. `objectives/npo`.
        name: The dataclass; by default the file's last public class.
    """
    source = _source(PACKAGE / f"{module}.py")
    return tuple(source.settings(name or source.main).values())


def own_fields(module: str) -> frozenset[str]:
    """The names of the fields that a file's main dataclass defines itself."""
    source = _source(PACKAGE / f"{module}.py")
    items = (item.target for item, _ in _fields(source.classes[source.main]))
    return frozenset(target.id for target in items if isinstance(target, ast.Name))


def title_of(module: str, name: str | None = None) -> tuple[str, str]:
    """The name and docstring of a dataclass; arguments as for `settings_in`."""
    source = _source(PACKAGE / f"{module}.py")
    title = name or source.main
    return title, ast.get_docstring(source.classes[title]) or ""


def summary(module: str) -> str:
    """The first line of a method's file, read without importing it."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


class _Source(dict[str, Any]):
    """The names defined in a file or imported from the package, evaluated when needed."""

    def __init__(self, path: Path):
        super().__init__(KNOWN)
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
        """The class of the task or method that the file defines."""
        return main_class(self.text)

    def value(self, expression: ast.expr) -> Any:
        """The value of an expression in this package's source."""
        return eval(compile(ast.Expression(expression), "<settings>", "eval"), {}, self)

    def settings(self, name: str) -> dict[str, Setting]:
        """The fields of a class, by name."""
        if name not in self.classes:
            return _source(self.homes[name]).settings(name) if name in self.homes else {}
        node = self.classes[name]
        settings: dict[str, Setting] = {}
        for base in reversed(node.bases):
            settings |= self.settings(ast.unparse(base))
        for item, text in _fields(node):
            assert isinstance(item.target, ast.Name), ast.unparse(item)
            default = MISSING if item.value is None else self.value(item.value)
            called = item.target.id
            settings[called] = Setting(called, self.value(item.annotation), default, text)
        return settings


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
