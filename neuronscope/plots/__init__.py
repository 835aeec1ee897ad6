"""One figure per file: each takes tables and returns a plotly figure. No model is needed."""

from neuronscope.plots._look import untitled
from neuronscope.plots._names import expert_places

__all__ = [
    "expert_places",
    "untitled",
]
