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
    """One row per step, 0 being the model before.

    | column | what it is |
    |---|---|
    | `step` | number of updates made |
    | `loss_<term>`, `loss` | the objective's terms at this step, before its update; their sum L |
    | `penalty`, `strength` | the regularizer's R, and the λ in front of it |
    | `gradient_norm`, `penalty_norm` | ‖∇L‖ and ‖λ∇R‖, before clipping |
    | `cosine` | of the angle between ∇L and ∇R |
    | `update_norm` | ‖θ − θ0‖ after the update |
    | `learning_rate` | of the update |
    | `asked_forget`, `asked_retain` | facts that were looked at |
    | `answered_forget`, `answered_retain` | those that greedy decoding answers; `_rate`: share |
    | `log_odds_forget` | mean log-odds of the answers to forget, nats per token |
    | `seconds`, `evaluation_seconds` | what step and evaluation took |
    | `peak_memory` | bytes at most so far: of the GPU, or of the process without one |

    Beside them stand the regularizer's own figures and the stop rule's scores. NaN: not measured.
    """

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
