"""The result of a training run."""

from dataclasses import dataclass

import pandas as pd

from neuronscope.display import html_card, html_table, shortened
from neuronscope.models.hooked_model import HookedModel
from neuronscope.training.config import TrainingConfig


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training run."""

    model: HookedModel
    """The trained model, with adapters merged, in single precision or higher."""

    history: pd.DataFrame
    """One row per step; step 0 is the original model. `results/history.py` documents the columns.
    """

    stopped: str
    """Why the run ended, in one sentence."""

    config: TrainingConfig

    seconds: float
    """Duration without interruptions."""

    def __repr__(self) -> str:
        text = "".join(f", {split} {a} -> {b} answered" for split, a, b in self._answered())
        return f"Run({int(self.history['step'].max())} steps{text}; {shortened(self.stopped, 160)})"

    def _repr_html_(self) -> str:
        """Why the run ended, and how many facts were answered before and after."""
        return html_card(
            f"Run of {int(self.history['step'].max())} steps on {self.model.source}",
            f"{self.stopped} {self.seconds:.0f} s.",
            html_table(("split", "answered before", "answered after"), self._answered()),
        )

    def _answered(self) -> list[tuple[str, str, str]]:
        """For each kind of facts, the answers in the first and in the last evaluation."""
        rows = []
        for column in self.history:
            split = str(column).removeprefix("answered_")
            if split == column or f"asked_{split}" not in self.history:
                continue
            counts = self.history[[column, f"asked_{split}"]].dropna().astype(int)
            if len(counts):
                first, last = (f"{a} of {b}" for a, b in counts.iloc[[0, -1]].to_numpy())
                rows.append((split, first, last))
        return rows
