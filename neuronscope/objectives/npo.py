"""Negative preference optimization: gradient ascent that fades as the answer becomes unlikely.

Zhang et al., arXiv 2404.05868.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from neuronscope.objectives._passes import log_ratios
from neuronscope.objectives._retain import RetainingObjective, check_weights
from neuronscope.objectives._settings import check_positive
from neuronscope.objectives._training_state import Portion, Terms, TrainingState


@dataclass(frozen=True)
class NPO(RetainingObjective):
    """Make the answers less likely than in the original model, with a fading gradient.

    L = γ · (−2/β) · mean_x log σ(−β · (ℓ_θ − ℓ_ref)) + α · L_r, ℓ = log P(y|x), a sum over the
    answer's tokens (arXiv 2404.05868). Its derivative with respect to a fact's NLL is
    −2σ(−β(NLL_θ − NLL_ref)): −1 at the start, approaching 0. As β → 0 it becomes gradient ascent on
    the summed NLL.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). OpenUnlearning: 1."""

    retain_weight: float = 1.0
    """Weight of the retain term (alpha). OpenUnlearning: 1. At 0 the retain set is not used."""

    beta: float = 0.1
    """Inverse temperature, per nat of the whole answer: how quickly the gradient fades. The paper
    and OpenUnlearning: 0.1; arXiv 2509.22263 searched 0.1 to 0.5."""

    def __post_init__(self) -> None:
        check_weights(self)
        check_positive("beta", self.beta)

    @property
    def needs_reference(self) -> bool:
        return True

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        ratios = log_ratios(training.model, training.before(), portion.batch)
        loss = npo(ratios, self.beta).sum() / portion.step_facts
        return {"forget": self.forget_weight * loss}


def npo(ratios: Float[Tensor, " batch"], beta: float) -> Float[Tensor, " batch"]:
    """−(2/β) · log σ(−β · r) of each fact, with r = log P(y|x) minus the reference's, in nats."""
    return -2 / beta * logsigmoid(-beta * ratios)
