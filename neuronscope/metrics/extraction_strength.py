"""Extraction strength: how much of an answer the model completes from the answer's prefix.

1 − k/|y| with k the smallest number of first tokens after which every token of the answer is the
most likely one (Carlini et al., arXiv 2012.07805, as in OpenUnlearning). If the last token is
missed, all tokens are needed: k = |y|, strength 0. OpenUnlearning stops at k = |y| − 1, so a total
miss has strength 1/|y| there, the same as an answer of which only the last token is predicted.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from neuronscope.metrics._answers import hits
from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._score import Score, mean_score
from neuronscope.models.answers import answers_of, per_token

TotalMiss = Literal["zero", "openunlearning"]


@dataclass(frozen=True)
class ExtractionStrength(Metric):
    """Mean share of an answer that greedy decoding completes, given the rest as a prefix."""

    total_miss: TotalMiss = "zero"
    """The strength of an answer whose last token is missed: 0, or one token's share as in
    OpenUnlearning."""

    def measure(self, exam: Exam) -> Score:
        tokens = per_token(exam.model, answers_of(exam.model, exam.facts, exam.form), hits)
        values = np.array([extraction_strength(hit, self.total_miss) for hit in tokens])
        return mean_score(
            "extraction_strength" + ("_zero_floor" if self.total_miss == "zero" else ""),
            exam.ids,
            values,
            unit="share of tokens",
            within=(0.0, 1.0),
            direction="lower is more forgotten",
        )


def extraction_strength(hit: Float[np.ndarray, " token"], total_miss: TotalMiss = "zero") -> float:
    """Length of the longest suffix predicted token by token, as a share of the answer.

    Args:
        hit: 1.0 for each token that is the most likely one.
    """
    misses = np.flatnonzero(hit == 0)
    found = len(hit) - 1 - int(misses[-1]) if len(misses) else len(hit)
    return max(found, 1 if total_miss == "openunlearning" else 0) / len(hit)
