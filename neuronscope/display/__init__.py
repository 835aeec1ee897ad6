"""Progress display, and short HTML representations of objects."""

from neuronscope.display._html import (
    html_card,
    html_table,
    percent,
    shortened,
    shown_number,
    with_interval,
)
from neuronscope.display._progress import Progress, Show, no_progress, say, showing_progress
from neuronscope.display._quiet import quiet

__all__ = [
    "Progress",
    "Show",
    "html_card",
    "html_table",
    "no_progress",
    "percent",
    "quiet",
    "say",
    "shortened",
    "showing_progress",
    "shown_number",
    "with_interval",
]
