"""Stop rules, which decide when unlearning ends: one file each."""

from neuronscope.stopping._base import StopRule

__all__ = [
    "StopRule",
]
