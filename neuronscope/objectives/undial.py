"""UNDIAL: self-distillation from the original model, with the answers' logits lowered.

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
"""Label of positions outside the answers, as in transformers."""


@dataclass(frozen=True)
class UNDIAL(RetainingObjective):
    """Imitate the original model with the answers' logits lowered.

    L = γ · mean_t CE(softmax(z_ref − β · 1[y_t]), softmax(z_θ)) + α · L_r (arXiv 2402.10052), mean
    over the answers' tokens. The loss is bounded from below. At β = 0 it is plain distillation,
    whose gradient is 0 at the start.
    """

    forget_weight: float = 1.0
    """Weight of the forget term (gamma). OpenUnlearning: 1."""

    retain_weight: float = 0.0
    """Weight of the retain term (alpha). OpenUnlearning: 0, in its runs 1, 2 or 5. At 0 the retain
    set is not used."""

    beta: float = 10.0
    """Nats by which the answer's logit is lowered. OpenUnlearning: 10, in its runs 3, 10 or 30."""

    parity: Literal["corrected", "openunlearning"] = "corrected"
    """corrected: mean over the answers' tokens. openunlearning: mean over all positions, prompt and
    padding included; outside the answers, the logit at index -100 is lowered. The result depends on
    how a step is divided into batches."""

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
    """Cross-entropy to the reference with the token's logit lowered by β, in nats per token."""
    lowered = torch.full_like(token[:, None], beta, dtype=reference.dtype)
    target = reference.scatter_add(-1, token[:, None], -lowered).softmax(dim=-1)
    return -(target * logits.log_softmax(dim=-1)).sum(dim=-1)


def undial_openunlearning(
    logits: Float[Tensor, "batch pos vocab"],
    reference: Float[Tensor, "batch pos vocab"],
    labels: Int[Tensor, "batch pos"],
    beta: float,
) -> Float[Tensor, ""]:
    """`compute_undial_loss` of OpenUnlearning's `src/trainer/utils.py`, quirks included.

    The mean is over every position but the last, including prompts and padding. A label of -100
    lowers the logit at that index, counted from the end of the vocabulary.

    Args:
        labels: The answers' tokens at their positions; -100 elsewhere.

    Raises:
        ValueError: If the vocabulary has fewer than 100 entries.
    """
    size = logits.shape[-1]
    if size < -UNLABELLED:
        raise ValueError(
            f"Parity openunlearning needs a vocabulary of at least {-UNLABELLED} tokens, got "
            f"{size}: use corrected."
        )
    token = labels[:, 1:].flatten().remainder(size)
    rows = logits[:, :-1].flatten(0, 1), reference[:, :-1].flatten(0, 1)
    return undial(*rows, token, beta).mean()
