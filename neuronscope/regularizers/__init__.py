"""What is added to an objective: SSIUU and its controls, one file each."""

from neuronscope.regularizers._base import Penalty, Regularizer, State
from neuronscope.regularizers._chosen import drawn

__all__ = [
    "Penalty",
    "Regularizer",
    "State",
    "drawn",
]
