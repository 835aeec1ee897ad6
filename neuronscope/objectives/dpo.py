"""Direct preference optimization: train the model to prefer a refusal to the answer.

Rafailov et al., arXiv 2305.18290; for unlearning in arXiv 2404.05868 and arXiv 2509.22263.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from neuronscope.facts.fact import FactSet
from neuronscope.objectives._base import check_splits
from neuronscope.objectives._passes import log_ratios
from neuronscope.objectives._retain import RetainingObjective, check_weights
from neuronscope.objectives._settings import (
    check_no_fact_answers,
    check_positive,
    check_refusal,
)
from neuronscope.objectives._training_state import Portion, Terms, TrainingState


@dataclass(frozen=True)
class DPO(RetainingObjective):
    """Prefer a refusal to the answer, relative to the original model.

    L = γ · (−2/β) · mean_x log σ(β · (r(refusal) − r(answer))) + α · L_r, r(y) = log P_θ(y|x) −
    log P_ref(y|x): the loss of arXiv 2305.18290 times 2/β, as in OpenUnlearning, so that without
    the refusal it equals NPO.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). OpenUnlearning: 1."""

    retain_weight: float = 1.0
    """Weight of the retain term (alpha). OpenUnlearning: 1. At 0 the retain set is not used."""

    beta: float = 0.1
    """Inverse temperature, per nat: how quickly the gradient fades. OpenUnlearning: 0.1; arXiv
    2509.22263 searched 0.1 to 0.5."""

    refusal: str = "I can't answer the question."
    """The text preferred to every answer. The default is that of arXiv 2509.22263."""

    def __post_init__(self) -> None:
        check_weights(self)
        check_positive("beta", self.beta)
        check_refusal(self.refusal)

    @property
    def needs_reference(self) -> bool:
        return True

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        refused = training.asked(portion.facts, self.refusal)
        preferred = log_ratios(training.model, training.before(), refused)
        rejected = log_ratios(training.model, training.before(), portion.batch)
        loss = dpo(preferred, rejected, self.beta).sum() / portion.step_facts
        return {"forget": self.forget_weight * loss}

    def check(self, facts: FactSet) -> None:
        check_splits(facts, self.needs_retain)
        check_no_fact_answers(self.refusal, facts)


def dpo(
    preferred: Float[Tensor, " batch"], rejected: Float[Tensor, " batch"], beta: float
) -> Float[Tensor, " batch"]:
    """−(2/β) · log σ(β · (r⁺ − r⁻)) of each fact; r are log-ratios to the reference, in nats."""
    return -2 / beta * logsigmoid(beta * (preferred - rejected))
