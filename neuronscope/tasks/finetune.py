"""Teach a model facts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from neuronscope.tasks._task import Facts, Loading, Model, Settings, Split, Task, runs

if TYPE_CHECKING:
    from neuronscope.training import Run


@dataclass(frozen=True)
class Finetune(Task["Run"]):
    """Teach a model facts: for a model that has something to forget."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """The facts."""

    splits: tuple[Split, ...] = ("forget", "retain")
    """The splits that are taught."""

    teach_end: bool = False
    """Also teach that the text ends behind each answer, as TOFU does. For answers to questions."""

    training: Annotated[Any, Settings("training/config", "TrainingConfig")] = None
    """Batches, optimizer, precision and bookkeeping."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None: ...

    def _perform(self, folder: Path | None) -> Any: ...


finetune = runs(Finetune)
