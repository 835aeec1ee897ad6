"""Fine-tuning on a refusal ("IDK" in TOFU).

TOFU, arXiv 2401.06121.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.objectives._base import check_splits
from neuronscope.objectives._passes import answer_lengths, fact_log_probs
from neuronscope.objectives._retain import RetainingObjective, check_weights
from neuronscope.objectives._settings import check_no_fact_answers, check_refusal
from neuronscope.objectives._training_state import Portion, Terms, TrainingState


@dataclass(frozen=True)
class IDK(RetainingObjective):
    """Train on a refusal instead of the answers.

    L = γ · CE(refusal | x_f) + α · L_r (arXiv 2401.06121, with one refusal instead of many, and
    each half averaged separately). CE is a mean over the refusal's tokens, then over facts.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). TOFU: 1."""

    retain_weight: float = 1.0
    """Weight of the retain term (alpha). TOFU: 1. At 0 the retain set is not used."""

    refusal: str = "I can't answer the question."
    """The text that replaces every answer. The default is that of arXiv 2509.22263."""

    def __post_init__(self) -> None:
        check_weights(self)
        check_refusal(self.refusal)

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        refused = training.asked(portion.facts, self.refusal)
        log_probs = fact_log_probs(training.model, refused)
        lengths = answer_lengths(refused).to(log_probs.device)
        loss = idk(log_probs, lengths).sum() / portion.step_facts
        return {"forget": self.forget_weight * loss}

    def check(self, facts: FactSet) -> None:
        check_splits(facts, self.needs_retain)
        check_no_fact_answers(self.refusal, facts)


def idk(
    log_probs: Float[Tensor, " batch"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """−log P / |y|: the cross-entropy of each refusal, in nats per token."""
    return -log_probs / lengths
