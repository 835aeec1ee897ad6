"""Weighted gradient ascent: tokens that are already unlikely receive less weight.

Wang et al., arXiv 2502.19301.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neuronscope.objectives._passes import token_log_probs
from neuronscope.objectives._retain import RetainingObjective, check_weights
from neuronscope.objectives._settings import check_not_negative
from neuronscope.objectives._training_state import Portion, Terms, TrainingState


@dataclass(frozen=True)
class WGA(RetainingObjective):
    """Gradient ascent that weights each token by a power of its probability.

    L = γ · mean_t (sg(p_t)^β · log p_t) + α · L_r, with sg the stop-gradient (arXiv 2502.19301;
    mean over the answers' tokens, as in OpenUnlearning). At β = 0 it is gradient ascent; at β = 1
    its gradient is that of the token's probability itself, p_t · ∂log p_t.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). OpenUnlearning: 1."""

    retain_weight: float = 1.0
    """Weight of the retain term (alpha). OpenUnlearning: 1. At 0 the retain set is not used."""

    beta: float = 1.0
    """How quickly a token loses weight as its probability falls. OpenUnlearning: 1."""

    def __post_init__(self) -> None:
        check_weights(self)
        check_not_negative("beta", self.beta)

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        log_probs = token_log_probs(training.model, portion.batch)
        loss = wga(log_probs, self.beta).sum() / portion.step_tokens
        return {"forget": self.forget_weight * loss}


def wga(log_probs: Float[Tensor, " token"], beta: float) -> Float[Tensor, " token"]:
    """sg(p)^β · log p of each token, with log p in nats."""
    return (beta * log_probs.detach()).exp() * log_probs
