"""What a training run comes back with."""

from dataclasses import dataclass

import pandas as pd

from neuronscope.models.hooked_model import HookedModel
from neuronscope.training.config import TrainingConfig


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training run."""

    model: HookedModel
    """The trained model: plain, adapters merged, at least in single precision."""

    history: pd.DataFrame
    """One row per step, 0 being the model before. `results/history.py` documents the columns."""

    stopped: str
    """Why it ended, in one sentence."""

    config: TrainingConfig

    seconds: float
    """Time it took, interruptions not counted."""
