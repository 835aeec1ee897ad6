"""Make a model forget."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from neuronscope.tasks._task import Facts, Loading, Method, Model, Settings, Task, runs

if TYPE_CHECKING:
    from neuronscope.training import Run


@dataclass(frozen=True)
class Unlearn(Task["Run"]):
    """Make a model forget: an objective, perhaps a regularizer, and a rule when to stop."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """The facts, each with its split: those of forget are to go, those of retain to stay."""

    objective: Annotated[Any, Method("objectives", "Objective")]
    """What is minimised, on the facts to be forgotten and those to be kept."""

    regularizer: Annotated[Any, Method("regularizers", "Regularizer")] = None
    """What is added to the objective (default: none)."""

    stop: Annotated[Any, Method("stopping", "StopRule")] = "forget-accuracy"
    """When to stop; at the latest after --steps."""

    training: Annotated[Any, Settings("training/config", "TrainingConfig")] = None
    """Batches, optimizer, precision and bookkeeping."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None: ...

    def _perform(self, folder: Path | None) -> Any: ...


unlearn = runs(Unlearn)
