"""Gradient ascent: maximize the loss on the forget set.

Jang et al., arXiv 2210.01504; as a baseline of unlearning in TOFU, arXiv 2401.06121.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neuronscope.objectives._base import Objective
from neuronscope.objectives._passes import fact_log_probs
from neuronscope.objectives._settings import check_positive
from neuronscope.objectives._training_state import Portion, Terms, TrainingState


@dataclass(frozen=True)
class GradientAscent(Objective):
    """Increase the cross-entropy of the forget set's answers, without a retain term.

    L = γ · (−CE_f), CE_f = −Σ_x log P(y|x) / number of the answers' tokens (arXiv 2401.06121). The
    loss has no lower bound, so the run needs a stopping rule.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma)."""

    def __post_init__(self) -> None:
        check_positive("forget_weight", self.forget_weight)

    @property
    def needs_retain(self) -> bool:
        return False

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        log_probs = fact_log_probs(training.model, portion.batch)
        return {"forget": self.forget_weight * gradient_ascent(log_probs, portion.step_tokens)}

    def log_prob_weight(self, portion: Portion) -> float:
        return self.forget_weight / portion.step_tokens


def gradient_ascent(log_probs: Float[Tensor, " batch"], tokens: int) -> Float[Tensor, ""]:
    """−CE: the sum of log P(y|x) per answer token of the step, in nats."""
    return log_probs.sum() / tokens
