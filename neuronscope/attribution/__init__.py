"""How much each neuron moves the target: one file, one method."""

from neuronscope.attribution._base import (
    GIB,
    Attribution,
    Influence,
    over_positions,
    setting_fields,
)
from neuronscope.attribution._baselines import Baseline, Reference, Zero, mean_baseline
from neuronscope.attribution._record import check_out, provenance_of, record
from neuronscope.attribution._trace import Trace, trace

__all__ = [
    "GIB",
    "Attribution",
    "Baseline",
    "Influence",
    "Reference",
    "Trace",
    "Zero",
    "check_out",
    "mean_baseline",
    "over_positions",
    "provenance_of",
    "record",
    "setting_fields",
    "trace",
]
