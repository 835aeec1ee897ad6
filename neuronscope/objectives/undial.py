"""UNDIAL: distillation from the model before, with the answer's logit taken down.

Dong et al., arXiv 2402.10052.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.objectives._passes import all_logits, logits_at_answers
from neuronscope.objectives._retain import RetainingObjective, check_weights
from neuronscope.objectives._settings import check_not_negative
from neuronscope.objectives._training_state import Portion, Terms, TrainingState

UNLABELLED = -100
"""Marks positions whose token is no part of an answer, as transformers does."""


@dataclass(frozen=True)
class UNDIAL(RetainingObjective):
    """Imitate the model before, but with the answers' logits lowered.

    L = γ · mean_t CE(softmax(z_ref − β · 1[y_t]), softmax(z_θ)) + α · L_r (arXiv 2402.10052), mean
    over the answers' tokens. Bounded from below. At β = 0 it is plain distillation, whose gradient
    at the start is 0.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). OpenUnlearning: 1."""

    retain_weight: float = 0.0
    """Weight of the retain term (alpha). OpenUnlearning: 0, in its runs 1, 2 or 5. At 0 no facts to
    be kept are read."""

    beta: float = 10.0
    """Nats by which the answer's logit is lowered. OpenUnlearning: 10, in its runs 3, 10 or 30."""

    parity: Literal["corrected", "openunlearning"] = "corrected"
    """corrected: mean over the answers' tokens. openunlearning: mean over all positions, prompt and
    padding included, where the entry 100 from the vocabulary's end is lowered in the answer's
    place; depends on how a step is cut into portions."""

    def __post_init__(self) -> None:
        check_weights(self)
        check_not_negative("beta", self.beta)

    @property
    def needs_reference(self) -> bool:
        return True

    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        if self.parity == "corrected":
            logits, answers = logits_at_answers(training.model, portion.batch)
            with torch.no_grad():
                before, _ = logits_at_answers(training.before(), portion.batch)
            losses = undial(logits, before.to(logits), answers.token, self.beta)
            return {"forget": self.forget_weight * losses.sum() / portion.step_tokens}
        tokens = portion.batch.tokens
        labels = tokens.where(portion.batch.answer_mask, UNLABELLED)
        logits = all_logits(training.model, tokens)
        with torch.no_grad():
            before = all_logits(training.before(), tokens).to(logits)
        mean = undial_openunlearning(logits, before, labels.to(logits.device), self.beta)
        share = len(portion.facts) / portion.step_facts
        return {"forget": self.forget_weight * share * mean}


def undial(
    logits: Float[Tensor, "token vocab"],
    reference: Float[Tensor, "token vocab"],
    token: Int[Tensor, " token"],
    beta: float,
) -> Float[Tensor, " token"]:
    """Cross-entropy to the reference with the token's logit lowered by β, in nats, per token."""
    down = torch.full_like(token[:, None], beta, dtype=reference.dtype)
    wanted = reference.scatter_add(-1, token[:, None], -down).softmax(dim=-1)
    return -(wanted * logits.log_softmax(dim=-1)).sum(dim=-1)


def undial_openunlearning(
    logits: Float[Tensor, "batch pos vocab"],
    reference: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    beta: float,
) -> Float[Tensor, ""]:
    """`compute_undial_loss` of OpenUnlearning's `src/trainer/utils.py`, quirks included.

    The mean is over every position but the last, prompts and padding too. A label of -100 lowers
    the vocabulary's entry of that index, counted from its end.

    Args:
        labels: The answers' tokens where they stand; -100 elsewhere.

    Raises:
        ValueError: If the vocabulary has no such entry.
    """
    size = logits.shape[-1]
    if size < -UNLABELLED:
        raise ValueError(
            f"parity openunlearning lowers the vocabulary's entry {UNLABELLED}, and this model has "
            f"{size} tokens: use corrected."
        )
    token = labels[:, 1:].flatten().remainder(size)
    rows = logits[:, :-1].flatten(0, 1), reference[:, :-1].flatten(0, 1)
    return undial(*rows, token, beta).mean()
