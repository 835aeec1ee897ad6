"""One figure per file: tables in, a plotly figure out, neither shown nor saved. Needs no model."""

from importlib import import_module

from neuronscope._discover import method_names
from neuronscope.plots import _look as look
from neuronscope.plots._look import untitled
from neuronscope.plots._names import expert_places

# Here `plots.neuron_heatmap` is the function; the file of that name stays importable.
globals().update(
    {name: vars(import_module(f"{__name__}.{name}"))[name] for name in method_names("plots")}
)

__all__ = [
    "expert_places",
    "look",
    "untitled",
]
