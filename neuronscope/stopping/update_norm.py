"""Stop at a given distance ‖θ − θ0‖ from the original weights, e.g. that of another run."""

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
    """Stop when the update norm reaches a given value, or that of an earlier run."""

    norm: float | None = None
    """Update norm ‖θ − θ0‖ at which to stop, over all trained parameters."""

    match: Path | None = None
    """Folder of a finished run: stop at its final update norm."""

    def __post_init__(self) -> None:
        if self.norm is not None and not self.norm > 0:
            raise ValueError(f"Expected `norm` above 0, got {self.norm}.")
        if self.norm is not None and self.match is not None:
            raise ValueError("Expected `norm` or `match`, got both; set one of them.")

    def check(self, facts: FactSet, form: str) -> None:
        super().check(facts, form)
        if self.norm is None:
            self._target()

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "UpdateNorm":
        """The rule with its norm."""
        del model
        self.check(facts, form)
        return replace(self, norm=self._target(), match=None)

    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        """No scores, because training computes the norm."""
        del model, facts, form
        return {}

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        del scores
        target = known(COLUMN, norm, self.norm)
        if norm < target:
            return None
        return f"The update norm is {norm:.4g}, at or above {target:.4g}."

    def _target(self) -> float:
        if self.norm is not None:
            return self.norm
        if self.match is None:
            raise ValueError("Expected `norm` or `match`, got neither; set one of them.")
        return final_update_norm(self.match)


def final_update_norm(run: Path) -> float:
    """The update norm at the end of a run.

    Raises:
        ValueError: If the folder has no history, or the history has no final update norm.
    """
    path = run / HISTORY
    if not path.is_file():
        raise ValueError(f"'{run}' has no {HISTORY}; set `match` to the folder of a finished run.")
    history = pd.read_parquet(path)
    if COLUMN not in history:
        raise ValueError(f"'{path}' has no column {COLUMN}; set `match` to a run that recorded it.")
    norms = history[COLUMN].dropna()
    last = math.nan if norms.empty else float(norms.iloc[-1])
    if not last > 0:
        raise ValueError(
            f"'{path}': expected a final update norm above 0, got {last}; set `match` to a "
            "different run."
        )
    return last
