"""Causal evidence from the original and the unlearned model: one file per view."""

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._views import ask, ask_views, default_views, views_called

__all__ = [
    "Case",
    "Evidence",
    "Progress",
    "ask",
    "ask_views",
    "default_views",
    "no_progress",
    "views_called",
]
