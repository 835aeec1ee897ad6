"""Membership inference: do the model's losses separate training facts from unseen ones?

| attack | score of an answer |
|---|---|
| `loss` | mean loss per token (Yeom et al., arXiv 1709.01604) |
| `zlib` | loss divided by the answer's bytes after zlib (Carlini et al., arXiv 2012.07805) |
| `min-k` | loss of its share k of least likely tokens (Shi et al., arXiv 2310.16789) |
| `min-k++` | the same with log-probabilities standardised at each position (arXiv 2404.02936) |
| `reference` | loss minus that of another model (Carlini et al., arXiv 2012.07805) |

The value is the AUC: 1 if the facts look like training data, 0.5 if they are indistinguishable from
the holdout, 0 if they look less familiar than facts that were never seen.
"""

import math
from dataclasses import dataclass

import numpy as np

from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._membership import Attack, auc, auc_interval, strangeness
from neuronscope.metrics._score import NO_INTERVAL, Score, per_fact


@dataclass(frozen=True)
class MembershipInference(Metric):
    """How well the facts can be distinguished from facts that no model was trained on."""

    attack: Attack = "min-k"
    """How answers are scored: loss, zlib, min-k, min-k++, or reference (needs another model)."""

    k: float = 0.4
    """Share of an answer's tokens that min-k and min-k++ use, as in the MUSE benchmark."""

    def __post_init__(self) -> None:
        if not 0 < self.k <= 1:
            raise ValueError(f"Expected a share k above 0 and at most 1, got {self.k}.")

    @property
    def needs(self) -> tuple[Need, ...]:
        """Facts that no model was trained on; for the attack `reference`, another model."""
        return ("holdout", "reference") if self.attack == "reference" else ("holdout",)

    def measure(self, exam: Exam) -> Score:
        every = (*exam.facts, *exam.holdout)
        scores = strangeness(exam.model, every, exam.form, self.attack, self.k, exam.reference)
        member = np.arange(len(every)) < len(exam.facts)
        known = ~np.isnan(scores)
        ours, theirs = scores[member & known], scores[~member & known]
        missing = int((~known).sum())
        defined = len(ours) > 0 and len(theirs) > 0
        value = auc(ours, theirs) if defined else math.nan
        return Score(
            metric=f"membership_inference_{self.attack}",
            value=value,
            ci95=auc_interval(value, len(ours), len(theirs)) if defined else NO_INTERVAL,
            n=len(ours),
            count=None,
            unit="AUC",
            direction="nearer to chance is more forgotten",
            chance=0.5,
            per_fact=per_fact(
                [fact.id for fact in every],
                scores,
                {"set": ["facts" if one else "holdout" for one in member]},
            ),
            figures={"auc_distance": abs(value - 0.5), "holdout": float(len(theirs))},
            reason=f"{missing} of {len(every)} facts have no {self.attack} score: the model is "
            "certain of every next token."
            if missing
            else "",
        )
