"""Was the knowledge erased, or only hidden? Diagnose unlearned models, neuron by neuron."""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuronscope.analysis.diagnosis import Diagnosis, diagnose
    from neuronscope.fact_formats import load_facts
    from neuronscope.facts import Fact, FactSet
    from neuronscope.loading import load_model, save_model
    from neuronscope.models import HookedModel
    from neuronscope.recording import record
    from neuronscope.report import write_report
    from neuronscope.results import Recording
    from neuronscope.targets import Target
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
    "load_facts": "fact_formats",
    "Fact": "facts",
    "FactSet": "facts",
    "load_model": "loading",
    "save_model": "loading",
    "HookedModel": "models",
    "record": "recording",
    "write_report": "report",
    "Recording": "results",
    "Target": "targets",
    "TrainingConfig": "training",
    "finetune": "training",
    "unlearn": "training",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: importing the package costs nothing itself."""
    if name not in _HOMES:
        raise AttributeError(f"module 'neuronscope' has no attribute {name!r}")
    return getattr(importlib.import_module(f"neuronscope.{_HOMES[name]}"), name)
