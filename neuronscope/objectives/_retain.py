"""The retain terms, which keep the model unchanged on the retain set.

| retain term | definition | divided by |
|---|---|---|
| `nll` | −Σ log p of the answers' tokens | the step's tokens |
| `kl` | Σ KL(π_ref ‖ π_θ) at the positions that predict the answers' tokens | the step's tokens |
| `kl_openunlearning` | the same at every position, prompt and padding included | positions |

The last is what `compute_kl_divergence` in OpenUnlearning's `src/trainer/utils.py` computes, with
this package's padding. As a mean over padded positions, it depends on how a step is divided into
batches.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.objectives._base import Objective
from neuronscope.objectives._passes import all_logits, logits_at_answers, token_log_probs
from neuronscope.objectives._settings import check_not_negative, check_positive
from neuronscope.objectives._training_state import Portion, Terms, TrainingState

RetainTerm = Literal["nll", "kl", "kl_openunlearning", "none"]

FROM_REFERENCE = ("kl", "kl_openunlearning")
"""The retain terms that use the original model."""


@dataclass(frozen=True)
class RetainingObjective(Objective):
    """A loss γ · L_f + α · L_r with a selectable retain term L_r."""

    forget_weight: float = 1.0
    """Weight of the forget term (gamma)."""

    retain_weight: float = 1.0
    """Weight of the retain term (alpha). At 0 the retain set is not used."""

    retain_term: RetainTerm = "nll"
    """Retain term: nll trains on the retain set's answers; kl keeps the distribution over all
    tokens close to that of the original model where the answers are predicted (kl_openunlearning:
    at every position, prompt and padding included); none."""

    def __post_init__(self) -> None:
        check_weights(self)

    @property
    def needs_retain(self) -> bool:
        return self.retain_weight > 0 and self.retain_term != "none"

    @property
    def needs_reference(self) -> bool:
        return self.needs_retain and self.retain_term in FROM_REFERENCE

    def retain(self, training: TrainingState, portion: Portion) -> Terms:
        if not self.needs_retain:
            return {}
        return {"retain": self.retain_weight * retain_loss(self.retain_term, training, portion)}


def check_weights(objective: RetainingObjective) -> None:
    """Raise unless γ > 0 and α ≥ 0.

    Raises:
        ValueError: Naming the weight.
    """
    check_positive("forget_weight", objective.forget_weight)
    check_not_negative("retain_weight", objective.retain_weight)


def retain_loss(term: RetainTerm, training: TrainingState, portion: Portion) -> Float[Tensor, ""]:
    """A portion's contribution to L_r, without its weight α."""
    if term == "nll":
        return -token_log_probs(training.model, portion.batch).sum() / portion.step_tokens
    if term == "kl":
        logits, _ = logits_at_answers(training.model, portion.batch)
        with torch.no_grad():
            before, _ = logits_at_answers(training.before(), portion.batch)
        return kl_to_reference(logits, before.to(logits)).sum() / portion.step_tokens
    if term == "kl_openunlearning":
        logits = all_logits(training.model, portion.batch.tokens)
        with torch.no_grad():
            before = all_logits(training.before(), portion.batch.tokens)
        share = len(portion.facts) / portion.step_facts
        return share * kl_to_reference(logits, before.to(logits)).mean()
    return torch.zeros((), device=portion.batch.tokens.device)


def kl_to_reference(
    logits: Float[Tensor, "*axes vocab"], reference: Float[Tensor, "*axes vocab"]
) -> Float[Tensor, "*axes"]:
    """KL(π_ref ‖ π_θ) = Σ_v π_ref(v) · (log π_ref(v) − log π_θ(v)), in nats."""
    before, now = reference.log_softmax(dim=-1), logits.log_softmax(dim=-1)
    return (before.exp() * (before - now)).sum(dim=-1)
