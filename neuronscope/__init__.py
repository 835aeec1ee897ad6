"""Was knowledge erased from an unlearned language model, or only hidden?"""

import importlib
import warnings
from typing import TYPE_CHECKING

from neuronscope._discover import method_classes

if TYPE_CHECKING:
    from neuronscope import plots
    from neuronscope.analysis.diagnosis import Diagnosis, compare
    from neuronscope.attribution import Trace, trace
    from neuronscope.facts.fact import Fact, FactSet
    from neuronscope.facts.loading import load_facts
    from neuronscope.models.hooked_model import HookedModel
    from neuronscope.models.loading import load_model, save_model
    from neuronscope.models.log_odds_table import log_odds
    from neuronscope.models.targets import Target
    from neuronscope.report import sentence, write_report
    from neuronscope.results.findings import Finding
    from neuronscope.results.recording import Recording
    from neuronscope.tasks.attack import attack
    from neuronscope.tasks.diagnose import diagnose
    from neuronscope.tasks.finetune import finetune
    from neuronscope.tasks.record import record
    from neuronscope.tasks.score import score
    from neuronscope.tasks.unlearn import unlearn
    from neuronscope.training import Run, TrainingConfig

__version__ = "0.1.0"

__all__ = [
    "Diagnosis",
    "Fact",
    "FactSet",
    "Finding",
    "HookedModel",
    "Recording",
    "Run",
    "Target",
    "Trace",
    "TrainingConfig",
    "attack",
    "compare",
    "diagnose",
    "finetune",
    "load_facts",
    "load_model",
    "log_odds",
    "plots",
    "record",
    "save_model",
    "score",
    "sentence",
    "trace",
    "unlearn",
    "write_report",
]

FAMILIES = (
    "attribution",
    "evidence",
    "objectives",
    "regularizers",
    "stopping",
    "attacks",
    "metrics",
)
"""The families of methods whose classes are exported from this package."""

_HOMES = {
    "Diagnosis": "analysis.diagnosis",
    "Fact": "facts.fact",
    "FactSet": "facts.fact",
    "Finding": "results.findings",
    "HookedModel": "models.hooked_model",
    "Recording": "results.recording",
    "Run": "training",
    "Target": "models.targets",
    "Trace": "attribution",
    "TrainingConfig": "training",
    "attack": "tasks.attack",
    "compare": "analysis.diagnosis",
    "diagnose": "tasks.diagnose",
    "finetune": "tasks.finetune",
    "load_facts": "facts.loading",
    "load_model": "models.loading",
    "log_odds": "models.log_odds_table",
    "record": "tasks.record",
    "save_model": "models.loading",
    "score": "tasks.score",
    "trace": "attribution",
    "unlearn": "tasks.unlearn",
    "sentence": "report",
    "write_report": "report",
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that importing the package is fast."""
    if name == "plots":
        return importlib.import_module("neuronscope.plots")
    homes = _HOMES if name in _HOMES or name.startswith("_") else dict(method_classes(FAMILIES))
    if name not in homes:
        raise AttributeError(f"module 'neuronscope' has no attribute {name!r}")
    with warnings.catch_warnings():
        # tqdm, which other packages import, recommends widgets that are not needed here.
        warnings.filterwarnings("ignore", message="IProgress not found")
        found = getattr(importlib.import_module(f"neuronscope.{homes[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """All public names, including those that have not been imported yet."""
    special = (name for name in globals() if name.startswith("__"))
    return sorted({*special, *__all__, *(name for name, _ in method_classes(FAMILIES))})
