"""The base class of tasks, and markers for what their fields hold.

A task is an operation with its settings: a frozen dataclass whose fields define each setting once,
with its default and description. The command line turns the fields into flags, a study fills them
in, and Python passes them as arguments. This module imports nothing heavy.
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
"""How a fact becomes a prompt."""

Split = Literal["forget", "retain", "test", "utility"]

P = ParamSpec("P")
Result = TypeVar("Result", covariant=True)


# Markers for fields whose types would need torch


@dataclass(frozen=True)
class Model:
    """The field holds a model: a `HookedModel`, or the path or hub id of one."""


@dataclass(frozen=True)
class Facts:
    """The field holds facts: a `FactSet`, or a file or folder of facts."""


@dataclass(frozen=True)
class Method:
    """The field holds a method: an instance, its name, or a table of its name and settings."""

    family: str
    """The family's folder in the package."""

    base: str
    """The family's base class, exported by the family's package."""


@dataclass(frozen=True)
class Methods:
    """The field holds one or several methods of a family, or `none`.

    With `all`, a method given as a table replaces the default method of the same name.
    """

    family: str
    base: str

    usual: str = ""
    """The function of the family's package that returns the methods meant by `all`."""


@dataclass(frozen=True)
class Settings:
    """The field holds a dataclass, a mapping of some of its fields, or None for its defaults."""

    module: str
    """The file that defines the dataclass, relative to the package and without its suffix."""

    name: str
    """The name of the dataclass."""


@dataclass(frozen=True)
class Recorded:
    """The field holds the path of a recording. It has no flag."""


Marker = Model | Facts | Method | Methods | Settings | Recorded


@dataclass(frozen=True)
class Loading:
    """How models are loaded."""

    base: Annotated[Any, Model()] = None
    """Base model of an adapter (default: the one named by the adapter)."""

    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """Precision of the model's parameters. Attributions need float32."""

    device: str | None = None
    """Device of the model, e.g. cpu or cuda:1 (default: the first GPU if there is one, else the
    CPU)."""

    device_map: str | None = None
    """Distribute the layers over several devices: auto (default: use one device)."""

    trust_remote_code: bool = False
    """Run code shipped with a checkpoint."""

    allow_pickle: bool = False
    """Load weights that are not in safetensors format. Such files can execute code."""


class Task(ABC, Generic[Result]):
    """An operation with its settings. Every task is a frozen dataclass."""

    @abstractmethod
    def check(self) -> None:
        """Find errors in the settings and inputs before any weights are read.

        Raises:
            ValueError, FileNotFoundError: If something is wrong; the message names the field.
        """

    @abstractmethod
    def _perform(self, folder: Path | None) -> Any:
        """Compute the task, which has been checked, and write its result if given a folder."""

    def run(self, folder: str | Path | None = None) -> Result:
        """Check the task, compute it, and return its result.

        Args:
            folder: Folder to write the result to. After an interruption, the same task resumes
                there and gives the same numbers.

        Raises:
            ValueError, FileNotFoundError: If the task cannot be computed, as in `check`.
            FileExistsError: If the folder contains a finished result or unrelated files.
        """
        self.check()
        return self._perform(None if folder is None else Path(folder))

    def decides(self) -> dict[str, Any]:
        """Everything that determines the task's numbers, by field, as plain values.

        Models, facts and other files are identified by their content, not by their path.
        """
        from neuronscope.tasks._deciding import decided, method_seed

        values, markers = vars(self), markers_of(type(self))
        seed = method_seed(values, markers)
        return {"task": type(self).__name__.lower()} | {
            name: decided(value, markers.get(name), seed) for name, value in values.items()
        }

    @contextmanager
    def _writing(self, folder: Path) -> "Iterator[Workspace]":
        """Open the folder of the task's result, and mark it finished if the body succeeds."""
        from neuronscope.results.cache import open_result
        from neuronscope.tasks.manifest import describe

        began = time.time()
        decides = self.decides()
        workspace = open_result(folder, decides)
        yield workspace
        workspace.finish(describe(began) | decides | {"sources": self._sources()})

    def _sources(self) -> dict[str, str]:
        """The paths or names of models and facts, by field."""
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
    """The markers of a task's fields, by name."""
    hints = get_type_hints(task, include_extras=True)
    return {
        name: hint.__metadata__[0]
        for name, hint in hints.items()
        if get_origin(hint) is Annotated and isinstance(hint.__metadata__[0], Marker)
    }


def runs(task: Callable[P, Task[Result]]) -> Callable[P, Result]:
    """The function that runs a task; its arguments and defaults are the task's fields."""

    def operation(*args: P.args, **kwargs: P.kwargs) -> Result:
        return task(*args, **kwargs).run()

    operation.__doc__ = task.__doc__
    operation.__signature__ = inspect.signature(task)
    return operation
