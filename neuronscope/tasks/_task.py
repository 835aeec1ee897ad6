"""What every task has in common, and what the fields of tasks stand for.

A task is an operation with its settings: a frozen dataclass whose fields are the settings, with
their defaults and descriptions, and nothing else lists them. The command line reads them as flags,
a study fills them in, and Python passes them as arguments. This module imports nothing heavy.
"""

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Generic,
    Literal,
    ParamSpec,
    TypeVar,
    get_origin,
    get_type_hints,
)

if TYPE_CHECKING:
    from neuronscope.results.cache import Workspace

PromptForm = Literal["completion", "question_answer", "chat", "multiple_choice"]
"""How a fact is put to a model."""

Split = Literal["forget", "retain", "test", "utility"]

P = ParamSpec("P")
Result = TypeVar("Result", covariant=True)


# What a field holds whose type would need torch


@dataclass(frozen=True)
class Model:
    """The field holds a model: a `HookedModel`, or where one can be loaded from."""


@dataclass(frozen=True)
class Facts:
    """The field holds facts: a `FactSet`, or a file or folder of facts."""


@dataclass(frozen=True)
class Method:
    """The field holds a method: ready, by its name, or as a table of its name and settings."""

    family: str
    """The folder of its family within the package."""

    base: str
    """The family's base class, which the package of that name exports."""


@dataclass(frozen=True)
class Methods:
    """The field holds several methods of a family, a single one, or the word none.

    A method that is named as a table replaces the one of the same name among all of them.
    """

    family: str
    base: str

    usual: str = ""
    """The function of the family's package that returns the methods that the word `all` means."""


@dataclass(frozen=True)
class Settings:
    """The field holds a dataclass, a mapping of some of its fields, or None for its defaults."""

    module: str
    """The file that defines the dataclass, within the package and without its ending."""

    name: str
    """The dataclass."""


@dataclass(frozen=True)
class Recorded:
    """The field holds a recording, by its path. It has no flag."""


Marker = Model | Facts | Method | Methods | Settings | Recorded


@dataclass(frozen=True)
class Loading:
    """How models are loaded."""

    base: Annotated[Any, Model()] = None
    """The model under an adapter (default: the one that the adapter names)."""

    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """Precision of the model's parameters. Attributions need float32."""

    device: str | None = None
    """Where the model goes, e.g. cpu or cuda:1 (default: the first GPU, or else the CPU)."""

    device_map: str | None = None
    """Spread the model's layers over several devices: auto (default: keep them on one)."""

    trust_remote_code: bool = False
    """Run code that comes with a checkpoint."""

    allow_pickle: bool = False
    """Load weights that are not safetensors. Such files can run code."""


class Task(ABC, Generic[Result]):
    """An operation with its settings; every task is a frozen dataclass."""

    @abstractmethod
    def check(self) -> None:
        """Refuse, before any weights are read, everything that can be known to be wrong.

        Raises:
            ValueError, FileNotFoundError: Naming the field.
        """

    @abstractmethod
    def _perform(self, folder: Path | None) -> Any:
        """Compute the checked task, and write its result to a folder where one is given."""

    def run(self, folder: str | Path | None = None) -> Result:
        """Check the task, compute it, and return its result.

        Args:
            folder: Where the result is written as well. After an interruption the same task
                resumes there, with the same numbers.

        Raises:
            ValueError, FileNotFoundError: If the task cannot be computed; as `check`.
            FileExistsError: If the folder holds a finished result, or something else.
        """
        self.check()
        return self._perform(None if folder is None else Path(folder))

    def decides(self) -> dict[str, Any]:
        """Everything that decides the task's numbers, by field, as plain values.

        A model counts by its content, wherever it lies, and so do facts and other files.
        """
        from neuronscope.tasks._deciding import decided, method_seed

        values, markers = vars(self), markers_of(type(self))
        seed = method_seed(values, markers)
        return {"task": type(self).__name__.lower()} | {
            name: decided(value, markers.get(name), seed) for name, value in values.items()
        }

    @contextmanager
    def _writing(self, folder: Path) -> "Iterator[Workspace]":
        """The task's result under way; it is finished when the body has succeeded."""
        from neuronscope.results.cache import open_result
        from neuronscope.tasks.manifest import describe

        began = time.time()
        decides = self.decides()
        workspace = open_result(folder, decides)
        yield workspace
        workspace.finish(describe(began) | decides | {"sources": self._sources()})

    def _sources(self) -> dict[str, str]:
        """Where models and facts came from, by field."""
        places = {
            name: vars(self)[name]
            for name, marker in markers_of(type(self)).items()
            if isinstance(marker, Model | Facts)
        }
        return {
            name: str(place if isinstance(place, str | Path) else place.source)
            for name, place in places.items()
            if place is not None
        }


def markers_of(task: type[Task[Any]]) -> dict[str, Marker]:
    """What the fields of a task hold, by name, where Python's types do not say it."""
    hints = get_type_hints(task, include_extras=True)
    return {
        name: hint.__metadata__[0]
        for name, hint in hints.items()
        if get_origin(hint) is Annotated and isinstance(hint.__metadata__[0], Marker)
    }


def runs(task: Callable[P, Task[Result]]) -> Callable[P, Result]:
    """The function of an operation: its arguments and their defaults are the task's fields."""

    def operation(*args: P.args, **kwargs: P.kwargs) -> Result:
        return task(*args, **kwargs).run()

    operation.__doc__ = task.__doc__
    operation.__signature__ = inspect.signature(task)
    return operation
