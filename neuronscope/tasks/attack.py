"""Try to bring back what a model was made to forget."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from neuronscope.tasks._task import Facts, Loading, Method, Model, PromptForm, Task, runs


@dataclass(frozen=True, eq=False)
class Attacked:
    """What an attack brought back."""

    table: pd.DataFrame
    recovery: pd.DataFrame


@dataclass(frozen=True)
class Attack(Task[Attacked]):
    """Try to bring back what a model was made to forget, beside the same attack on controls."""

    model: Annotated[Any, Model()]
    """The checkpoint under attack: HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """The facts: those of split forget are to be brought back, those of retain are watched."""

    attack: Annotated[Any, Method("attacks", "Attack")]
    """How the forgotten is brought back."""

    original: Annotated[Any, Model()] = None
    """The model before unlearning: attacked likewise, it shows the most that can come back."""

    never_knew: Annotated[Any, Model()] = None
    """A model that never saw the facts: attacked likewise, it shows what the attack teaches any
    model."""

    form: PromptForm = "completion"
    """How a fact is taught."""

    asked: PromptForm | None = None
    """How a fact is asked (default: as it is taught)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None: ...

    def _perform(self, folder: Path | None) -> Any: ...


attack = runs(Attack)
