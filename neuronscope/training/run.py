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
    | `asked_forget`, `asked_retain` | facts whose answers are counted |
    | `answered_forget`, `answered_retain` | those that greedy decoding answers; `_rate`: share |
    | `log_odds_forget` | mean log-odds of the answers to forget, nats per token |
    | `..._watched`, `..._taught` | the same for a finetune run: facts not taught, facts taught |
    | `seconds`, `evaluation_seconds` | what step and evaluation took |
    | `peak_memory` | bytes at most so far: of the GPU, or of the process without one |

    Beside them stand the regularizer's own figures and the stop rule's scores. NaN: not measured.
    """

    stopped: str
    """Why it ended, in one sentence."""

    config: TrainingConfig

    seconds: float
    """Time it took, interruptions not counted."""
