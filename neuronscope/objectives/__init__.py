"""Unlearning objectives: the losses that unlearning minimizes, one per file."""

from neuronscope.objectives._base import Objective
from neuronscope.objectives._training_state import Gradients, Portion, Step, Terms, TrainingState

__all__ = [
    "Gradients",
    "Objective",
    "Portion",
    "Step",
    "Terms",
    "TrainingState",
]
