"""Memorization accuracy MA (Tirumala et al., arXiv 2205.10770; Jang et al., arXiv 2210.01504).

MA(x) = Σ_t 1[argmax p(·|x_<t) = x_t] / T over all tokens of a text but the first. On the answer
alone it equals exact memorization.
"""

from dataclasses import dataclass

import numpy as np

from neuronscope.metrics._answers import Span, hits, spanned
from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._score import Score, mean_score
from neuronscope.models.answers import answers_of, per_token


@dataclass(frozen=True)
class MemorizationAccuracy(Metric):
    """Mean share of a text's tokens that the model predicts, given the true preceding ones."""

    span: Span = "text"
    """The whole text of prompt and answer, as in the paper; or only the answer after its prompt."""

    def measure(self, exam: Exam) -> Score:
        encoded = answers_of(exam.model, exam.facts, exam.form)
        tokens = per_token(exam.model, [spanned(one, self.span) for one in encoded], hits)
        return mean_score(
            "memorization_accuracy" + ("" if self.span == "text" else "_answer"),
            exam.ids,
            np.array([hit.mean() for hit in tokens]),
            unit="share of tokens",
            within=(0.0, 1.0),
            direction="lower is more forgotten",
        )
