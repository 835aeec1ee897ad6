"""What happened inside, asked of both models; one file = one view."""

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._views import ask, default_views, views_called

__all__ = [
    "Case",
    "Evidence",
    "Progress",
    "ask",
    "default_views",
    "no_progress",
    "views_called",
]
