"""How much each neuron influences the target: one file per method."""

from neuronscope.attribution._base import (
    GIB,
    Attribution,
    Influence,
    over_positions,
    setting_fields,
)
from neuronscope.attribution._baselines import Baseline
from neuronscope.attribution._record import check_out, provenance_of, record
from neuronscope.attribution._trace import Trace, trace

__all__ = [
    "GIB",
    "Attribution",
    "Baseline",
    "Influence",
    "Trace",
    "check_out",
    "over_positions",
    "provenance_of",
    "record",
    "setting_fields",
    "trace",
]
