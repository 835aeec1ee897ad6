"""Exact memorization (Tirumala et al., arXiv 2205.10770): share of predicted answer tokens.

The share of an answer's tokens that are the most likely ones under teacher forcing; the mean over
facts.
"""

from dataclasses import dataclass

import numpy as np

from neuronscope.metrics._answers import hits
from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._score import Score, mean_score
from neuronscope.models.answers import answers_of, per_token


@dataclass(frozen=True)
class ExactMemorization(Metric):
    """Mean share of an answer's tokens that the model predicts, given the true preceding ones."""

    def measure(self, exam: Exam) -> Score:
        tokens = per_token(exam.model, answers_of(exam.model, exam.facts, exam.form), hits)
        return mean_score(
            "exact_memorization",
            exam.ids,
            np.array([hit.mean() for hit in tokens]),
            unit="share of tokens",
            within=(0.0, 1.0),
            direction="lower is more forgotten",
        )
