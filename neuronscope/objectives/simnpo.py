"""Simple negative preference optimization: NPO without a reference model, length-normalized.

Fan et al., arXiv 2410.07163.
"""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from neuronscope.objectives._passes import answer_lengths, fact_log_probs
from neuronscope.objectives._retain import RetainingObjective, check_weights
from neuronscope.objectives._settings import check_positive
from neuronscope.objectives._training_state import Portion, Terms, TrainingState


@dataclass(frozen=True)
class SimNPO(RetainingObjective):
    """Make the answers unlikely per token, with a fading gradient and without a reference model.

    L = γ · (−2/β) · mean_x log σ(β · (NLL/|y| − δ)) + α · L_r (arXiv 2410.07163; the margin in the
    paper equals β·δ). As β → 0 it becomes gradient ascent on the mean NLL per token.
    """

    forget_weight: float = 0.125
    """Weight of the forget term (gamma). OpenUnlearning: 0.125; the authors, on TOFU forget05:
    0.1375."""

    retain_weight: float = 1.0
    """Weight of the retain term (alpha). OpenUnlearning and the authors: 1. At 0 the retain set
    is not used."""

    beta: float = 4.5
    """Inverse temperature, per nat per token: how quickly the gradient fades. OpenUnlearning: 4.5;
    the authors, on TOFU forget05: 2.5."""

    delta: float = 0.0
    """NLL per token, in nats, at which the gradient is half its upper bound. OpenUnlearning and the
    authors: 0."""

    def __post_init__(self) -> None:
        check_weights(self)
        check_positive("beta", self.beta)
        if not math.isfinite(self.delta):
            raise ValueError(f"Expected a finite delta, got {self.delta}.")

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        log_probs = fact_log_probs(training.model, portion.batch)
        cost = -log_probs / answer_lengths(portion.batch).to(log_probs.device)
        loss = simnpo(cost, self.beta, self.delta).sum() / portion.step_facts
        return {"forget": self.forget_weight * loss}


def simnpo(cost: Float[Tensor, " batch"], beta: float, delta: float) -> Float[Tensor, " batch"]:
    """−(2/β) · log σ(β · (u − δ)) of each fact, with u = NLL/|y| in nats per token."""
    return -2 / beta * logsigmoid(beta * (cost - delta))
