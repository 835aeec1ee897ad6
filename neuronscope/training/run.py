"""What a training run comes back with."""

from dataclasses import dataclass

import pandas as pd

from neuronscope.display import html_card, html_table, shortened
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

    def __repr__(self) -> str:
        said = "".join(f", {split} {a} -> {b} answered" for split, a, b in self._answered())
        return f"Run({int(self.history['step'].max())} steps{said}; {shortened(self.stopped, 160)})"

    def _repr_html_(self) -> str:
        """Why it ended, and what the model answered before and after."""
        return html_card(
            f"Run of {int(self.history['step'].max())} steps on {self.model.source}",
            f"{self.stopped} {self.seconds:.0f} s.",
            html_table(("split", "answered before", "answered after"), self._answered()),
        )

    def _answered(self) -> list[tuple[str, str, str]]:
        """For each kind of facts, the answers given at first and at last."""
        found = []
        for column in self.history:
            split = str(column).removeprefix("answered_")
            if split == column or f"asked_{split}" not in self.history:
                continue
            looks = self.history[[column, f"asked_{split}"]].dropna().astype(int)
            if len(looks):
                first, last = (f"{a} of {b}" for a, b in looks.iloc[[0, -1]].to_numpy())
                found.append((split, first, last))
        return found
