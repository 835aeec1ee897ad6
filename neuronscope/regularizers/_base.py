"""What every regularizer takes and returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Gradients, Step, TrainingState

Memory = dict[str, Tensor]
"""Tensors that a regularizer keeps from one step to the next. Saved in checkpoints."""


@dataclass(frozen=True)
class Penalty:
    """The term R at one step, not yet multiplied by its strength."""

    gradient: Gradients
    """∇R."""

    value: float
    """R."""

    figures: dict[str, float]
    """Further columns of the history."""


@dataclass(frozen=True)
class Regularizer(ABC):
    """A term λR that is added to any objective."""

    strength: float = 1.0
    """λ, constant over steps."""

    relative: float | None = None
    """ρ: replaces the constant λ by one that is set at each step such that ‖λ∇R‖ = ρ‖∇L‖. Its
    meaning does not depend on the model."""

    def __post_init__(self) -> None:
        if self.strength < 0 or (self.relative is not None and self.relative < 0):
            raise ValueError(
                f"Expected a strength of 0 or more, got {self.strength} and {self.relative}."
            )

    @property
    def needs_reference(self) -> bool:
        """Whether it needs the model before unlearning."""
        return False

    @property
    def wants_log_prob_gradient(self) -> bool:
        """Whether it can use Σ_x ∂log P(y|x)/∂φ where the objective's backward pass yields it."""
        return False

    def check_facts(self, facts: FactSet) -> None:
        """Raise if the facts lack what this regularizer needs, before any model is loaded.

        Raises:
            ValueError: Names what is missing.
        """
        del facts

    def check(self, model: HookedModel) -> None:
        """Raise if the model lacks what this regularizer needs.

        Raises:
            ValueError: Names what is missing.
        """
        del model

    def start(self, training: TrainingState, facts: FactSet) -> Memory:
        """The memory before the first step."""
        del training, facts
        return {}

    @abstractmethod
    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        """The penalty at one step, and the memory after it.

        Args:
            memory: The memory after the step before. May be overwritten.
        """
