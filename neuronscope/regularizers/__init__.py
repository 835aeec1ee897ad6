"""Penalties that are added to an objective: SSIUU and its controls, one file each."""

from neuronscope.regularizers._base import Memory, Penalty, Regularizer
from neuronscope.regularizers._chosen import drawn, marked, neurons_of

__all__ = [
    "Memory",
    "Penalty",
    "Regularizer",
    "drawn",
    "marked",
    "neurons_of",
]
