"""The interface of a regularizer."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Gradients, Step, TrainingState

Memory = dict[str, Tensor]
"""Tensors that a regularizer keeps between steps. They are saved in checkpoints."""


@dataclass(frozen=True)
class Penalty:
    """The penalty R at one step, before multiplication by its strength."""

    gradient: Gradients
    """∇R."""

    value: float
    """R."""

    figures: dict[str, float]
    """Further columns of the history."""


@dataclass(frozen=True)
class Regularizer(ABC):
    """A penalty λR that is added to any objective."""

    strength: float = 1.0
    """The factor λ of the penalty, constant over steps. No good value is known; for a control, set
    `relative` to the value of the run that it is compared with."""

    relative: float | None = None
    """Relative strength ρ: instead of a constant λ, choose λ at each step such that
    ‖λ∇R‖ = ρ‖∇L‖. Unlike λ, ρ has the same meaning for all models."""

    def __post_init__(self) -> None:
        relative = 0.0 if self.relative is None else self.relative
        if not (0 <= self.strength < math.inf and 0 <= relative < math.inf):
            raise ValueError(
                "Expected finite `strength` and `relative` of 0 or more, got "
                f"strength={self.strength} and relative={self.relative}."
            )

    @property
    def needs_reference(self) -> bool:
        """Whether this regularizer needs the original model."""
        return False

    @property
    def wants_log_prob_gradient(self) -> bool:
        """Whether it uses Σ_x ∂log P(y|x)/∂φ if the objective's backward pass computes it."""
        return False

    def check_facts(self, facts: FactSet) -> None:
        """Raise if the facts lack what this regularizer needs, before any model is loaded.

        Raises:
            ValueError: The message names what is missing.
        """
        del facts

    def check(self, model: HookedModel) -> None:
        """Raise if the model lacks what this regularizer needs.

        Raises:
            ValueError: The message names what is missing.
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
            memory: The memory after the previous step. It may be overwritten.
        """
