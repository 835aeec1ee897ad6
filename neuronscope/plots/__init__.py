"""One figure per file: tables in, a plotly figure out, neither shown nor saved. Needs no model."""

from neuronscope.plots import _look as look
from neuronscope.plots._look import untitled
from neuronscope.plots._names import expert_places

__all__ = [
    "expert_places",
    "look",
    "untitled",
]
