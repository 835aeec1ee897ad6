"""Gradient difference: gradient ascent on the forget set, descent on the retain set.

TOFU, arXiv 2401.06121; the backbone of arXiv 2509.22263.
"""

from dataclasses import dataclass

from neuronscope.objectives._passes import fact_log_probs
from neuronscope.objectives._retain import RetainingObjective
from neuronscope.objectives._training_state import Portion, Terms, TrainingState
from neuronscope.objectives.gradient_ascent import gradient_ascent


@dataclass(frozen=True)
class GradientDifference(RetainingObjective):
    """Increase the cross-entropy on the forget set and decrease it on the retain set.

    L = −γ · CE_f + α · L_r (arXiv 2401.06121), each CE a mean over the answers' tokens; γ = α = 1
    in TOFU, OpenUnlearning and Algorithm 1 of arXiv 2509.22263. The loss has no lower bound. At
    α = 0 it equals gradient ascent.
    """

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        log_probs = fact_log_probs(training.model, portion.batch)
        return {"forget": self.forget_weight * gradient_ascent(log_probs, portion.step_tokens)}

    def log_prob_weight(self, portion: Portion) -> float:
        return self.forget_weight / portion.step_tokens
