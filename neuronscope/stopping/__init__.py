"""When unlearning is done: one file, one rule."""

from neuronscope.stopping._base import StopRule

__all__ = [
    "StopRule",
]
