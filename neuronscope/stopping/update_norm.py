"""Stop when the parameters have moved a given way, ‖θ − θ0‖: for controls of equal update norm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.stopping._base import StopRule, known

HISTORY, COLUMN = "history.parquet", "update_norm"


@dataclass(frozen=True)
class UpdateNorm(StopRule):
    """Stop when the parameters have moved as far as given, or as in another run."""

    norm: float | None = None
    """‖θ − θ0‖ at which to stop, over all parameters that are trained."""

    match: Path | None = None
    """Folder of a finished run: stop where it ended."""

    def __post_init__(self) -> None:
        if self.norm is not None and not self.norm > 0:
            raise ValueError(f"Expected a norm above 0, got {self.norm}.")

    def check(self, facts: FactSet, form: str) -> None:
        super().check(facts, form)
        if self.norm is None:
            self._target()

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "UpdateNorm":
        """With the norm."""
        del model
        self.check(facts, form)
        return replace(self, norm=self._target())

    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        """Nothing: the norm is known to the training."""
        del model, facts, form
        return {}

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        del scores
        target = known(COLUMN, norm, self.norm)
        if norm < target:
            return None
        return f"The parameters have moved by {norm:.4g}, {target:.4g} or more."

    def _target(self) -> float:
        if self.norm is not None:
            return self.norm
        if self.match is None:
            raise ValueError("Stopping by update norm needs a norm, or a run to match; give one.")
        return final_update_norm(self.match)


def final_update_norm(run: Path) -> float:
    """How far the parameters had moved at the end of a run.

    Raises:
        ValueError: If the folder holds no history that says so.
    """
    path = run / HISTORY
    if not path.is_file():
        raise ValueError(f"'{run}' holds no {HISTORY}; give the folder of a finished run.")
    history = pd.read_parquet(path)
    if COLUMN not in history:
        raise ValueError(f"'{path}' has no column {COLUMN}; give a run that recorded it.")
    norms = history[COLUMN].dropna()
    last = math.nan if norms.empty else float(norms.iloc[-1])
    if not last > 0:
        raise ValueError(f"'{path}': expected an update norm above 0 at the end, got {last}.")
    return last
