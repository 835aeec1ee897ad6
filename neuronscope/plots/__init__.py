"""One figure per file: each takes tables and returns a plotly figure. No model is needed."""

from importlib import import_module

from neuronscope._discover import method_names
from neuronscope.plots import _look as look
from neuronscope.plots._look import untitled
from neuronscope.plots._names import expert_places

# `plots.neuron_heatmap` is the function; its module can still be imported by its full name.
globals().update(
    {name: vars(import_module(f"{__name__}.{name}"))[name] for name in method_names("plots")}
)

__all__ = [
    "expert_places",
    "look",
    "untitled",
]
