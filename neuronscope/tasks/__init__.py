"""Operations, one module each, shared by Python, the command line and studies."""

from neuronscope.tasks._facts import choose_facts
from neuronscope.tasks._measuring import Measuring
from neuronscope.tasks._task import (
    Facts,
    Loading,
    Marker,
    Method,
    Methods,
    Model,
    PromptForm,
    Recorded,
    Settings,
    Split,
    Task,
    markers_of,
    runs,
)

__all__ = [
    "Facts",
    "Loading",
    "Marker",
    "Measuring",
    "Method",
    "Methods",
    "Model",
    "PromptForm",
    "Recorded",
    "Settings",
    "Split",
    "Task",
    "choose_facts",
    "markers_of",
    "runs",
]
