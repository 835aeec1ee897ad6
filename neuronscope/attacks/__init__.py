"""Attacks that try to recover unlearned facts, and measures of how much they recover."""

from neuronscope.attacks._base import Attack, Rows, Scene, Trial
from neuronscope.attacks._recovery import by_learning_rate, curves, recovery
from neuronscope.attacks._relearning import FEWEST, Relearning

__all__ = [
    "FEWEST",
    "Attack",
    "Relearning",
    "Rows",
    "Scene",
    "Trial",
    "by_learning_rate",
    "curves",
    "recovery",
]
