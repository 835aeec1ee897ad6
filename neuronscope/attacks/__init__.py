"""How the forgotten is brought back, and how much of it came."""

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
