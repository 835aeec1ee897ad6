"""How the forgotten is brought back, and how much of it came."""

from neuronscope.attacks._recovery import by_learning_rate, curves, recovery

__all__ = ["by_learning_rate", "curves", "recovery"]
