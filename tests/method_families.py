"""The families whose methods have settings, with their base classes, and all of these methods."""

from neuronscope._discover import method_names
from neuronscope.attacks import Attack
from neuronscope.attribution import Attribution
from neuronscope.evidence import Evidence
from neuronscope.metrics import Metric
from neuronscope.objectives import Objective
from neuronscope.regularizers import Regularizer
from neuronscope.stopping import StopRule

FAMILIES = {
    "attribution": Attribution,
    "evidence": Evidence,
    "objectives": Objective,
    "regularizers": Regularizer,
    "stopping": StopRule,
    "attacks": Attack,
    "metrics": Metric,
}
METHODS = [(family, name) for family in FAMILIES for name in method_names(family)]
