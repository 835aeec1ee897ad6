"""What every regularizer takes and returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Gradients, Step, TrainingState

State = dict[str, Tensor]
"""What a regularizer remembers from step to step. Saved with the run."""


@dataclass(frozen=True)
class Penalty:
    """A regularizer's word on one step, before its strength."""

    gradient: Gradients
    """∇R."""

    value: float
    """R."""

    figures: dict[str, float]
    """What else is worth a column of the history."""


@dataclass(frozen=True)
class Regularizer(ABC):
    """A term R that is added to any objective, with λ in front."""

    strength: float = 1.0
    """λ, where it is the same at every step."""

    relative: float | None = None
    """ρ: instead of a fixed λ, one for each step, such that ‖λ∇R‖ = ρ‖∇L‖. Means the same on every
    model."""

    def __post_init__(self) -> None:
        if self.strength < 0 or (self.relative is not None and self.relative < 0):
            raise ValueError(
                f"Expected a strength of 0 or more, got {self.strength} and {self.relative}."
            )

    @property
    def needs_reference(self) -> bool:
        """Whether it reads the model before."""
        return False

    @property
    def wants_log_prob_gradient(self) -> bool:
        """Whether it can use Σ_x ∂log P(y|x)/∂φ, if the objective's backward pass holds it."""
        return False

    def check_facts(self, facts: FactSet) -> None:
        """Refuse facts that it cannot be had of, before any model is loaded.

        Raises:
            ValueError: With what is missing.
        """
        del facts

    def check(self, model: HookedModel) -> None:
        """Refuse a model that it cannot be had of.

        Raises:
            ValueError: With what the model lacks.
        """
        del model

    def start(self, training: TrainingState, facts: FactSet) -> State:
        """What is remembered before the first step."""
        del training, facts
        return {}

    @abstractmethod
    def __call__(self, step: Step, state: State) -> tuple[Penalty, State]:
        """The penalty at one step, and what is remembered after it.

        Args:
            state: What was remembered before, which may be written over.
        """
