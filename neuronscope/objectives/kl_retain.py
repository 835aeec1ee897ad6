"""Gradient ascent with a KL divergence to the original model on the retain set ("KL" in TOFU).

TOFU, arXiv 2401.06121.
"""

from dataclasses import dataclass
from typing import Literal

from neuronscope.objectives._base import Objective
from neuronscope.objectives._passes import fact_log_probs
from neuronscope.objectives._retain import retain_loss
from neuronscope.objectives._settings import check_not_negative, check_positive
from neuronscope.objectives._training_state import Portion, Terms, TrainingState
from neuronscope.objectives.gradient_ascent import gradient_ascent


@dataclass(frozen=True)
class KLRetain(Objective):
    """Increase the cross-entropy on the forget set; stay close to the original on the retain set.

    L = −γ · CE_f + α · KL(π_ref ‖ π_θ) on the retain set (arXiv 2401.06121). KL is summed over
    the vocabulary and averaged over the positions that predict the answers' tokens.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). TOFU: 1."""

    retain_weight: float = 1.0
    """Weight of the KL term (alpha). TOFU: 1. At 0 the retain set is not used."""

    parity: Literal["corrected", "openunlearning"] = "corrected"
    """Positions over which the KL is averaged: corrected, those that predict the answers' tokens;
    openunlearning, all positions, prompt and padding included, as in OpenUnlearning and TOFU."""

    def __post_init__(self) -> None:
        check_positive("forget_weight", self.forget_weight)
        check_not_negative("retain_weight", self.retain_weight)

    @property
    def needs_retain(self) -> bool:
        return self.retain_weight > 0

    @property
    def needs_reference(self) -> bool:
        return self.needs_retain

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        log_probs = fact_log_probs(training.model, portion.batch)
        return {"forget": self.forget_weight * gradient_ascent(log_probs, portion.step_tokens)}

    def retain(self, training: TrainingState, portion: Portion) -> Terms:
        if not self.needs_retain:
            return {}
        term = "kl" if self.parity == "corrected" else "kl_openunlearning"
        return {"retain": self.retain_weight * retain_loss(term, training, portion)}

    def log_prob_weight(self, portion: Portion) -> float:
        return self.forget_weight / portion.step_tokens
