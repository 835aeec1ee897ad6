"""Was the knowledge erased, or only hidden? Diagnose unlearned models, neuron by neuron."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronscope.analysis.diagnosis import Diagnosis, diagnose
    from neuronscope.attribution import record
    from neuronscope.facts.fact import Fact, FactSet
    from neuronscope.facts.loading import load_facts
    from neuronscope.models.hooked_model import HookedModel
    from neuronscope.models.loading import load_model, save_model
    from neuronscope.models.targets import Target
    from neuronscope.report import write_report
    from neuronscope.results.recording import Recording
    from neuronscope.training import TrainingConfig, finetune, unlearn

__version__ = "0.1.0"

__all__ = [
    "Diagnosis",
    "Fact",
    "FactSet",
    "HookedModel",
    "Recording",
    "Target",
    "TrainingConfig",
    "diagnose",
    "finetune",
    "load_facts",
    "load_model",
    "record",
    "save_model",
    "unlearn",
    "write_report",
]

_HOMES = {
    "Diagnosis": "analysis.diagnosis",
    "diagnose": "analysis.diagnosis",
    "load_facts": "facts.loading",
    "Fact": "facts.fact",
    "FactSet": "facts.fact",
    "load_model": "models.loading",
    "save_model": "models.loading",
    "HookedModel": "models.hooked_model",
    "record": "attribution",
    "write_report": "report",
    "Recording": "results.recording",
    "Target": "models.targets",
    "TrainingConfig": "training",
    "finetune": "training",
    "unlearn": "training",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: importing the package costs nothing itself."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neuronscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"neuronscope.{_HOMES[name]}"), name)
