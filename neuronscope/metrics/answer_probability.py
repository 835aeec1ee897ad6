"""Probability of the answers.

| kind | value of one fact |
|---|---|
| `per-token` | exp of the mean log-probability per token: "Probability" of OpenUnlearning |
| `product` | P(y|x), the product over tokens |
| `among-options` | per-token probability, divided by the sum over answer and distractors: |
| | "probability with options" of OpenUnlearning, used for real authors and world facts |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import softmax

from neuronscope.metrics._answers import guessing, per_option
from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._score import Score, mean_score
from neuronscope.models.answers import answers_of, per_token
from neuronscope.models.targets import log_prob

Kind = Literal["per-token", "product", "among-options"]

_SUFFIX: dict[Kind, str] = {
    "per-token": "",
    "product": "_product",
    "among-options": "_among_options",
}


@dataclass(frozen=True)
class AnswerProbability(Metric):
    """Mean probability of the answers."""

    kind: Kind = "per-token"
    """Per token (geometric mean, as in OpenUnlearning), the product over tokens, or per token and
    normalised over the answer and its distractors."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """Distractors, for the kind `among-options`."""
        return ("distractors",) if self.kind == "among-options" else ()

    def measure(self, exam: Exam) -> Score:
        if self.kind == "among-options":
            options = per_option(exam.model, exam.facts, exam.form, log_prob)
            values = [among_options(of_fact) for of_fact in options]
        else:
            encoded = answers_of(exam.model, exam.facts, exam.form)
            reduce = np.mean if self.kind == "per-token" else np.sum
            tokens = per_token(exam.model, encoded, log_prob)
            values = [float(np.exp(reduce(of_fact))) for of_fact in tokens]
        return mean_score(
            "answer_probability" + _SUFFIX[self.kind],
            exam.ids,
            np.array(values),
            unit="probability",
            within=(0.0, 1.0),
            direction="lower is more forgotten",
            chance=guessing(exam.facts, exam.form) if self.kind == "among-options" else None,
        )


def among_options(log_probs: Sequence[Float[np.ndarray, " _token"]]) -> float:
    """Per-token probability of the first option, divided by the sum over all options.

    Args:
        log_probs: Log-probabilities of each option's tokens.
    """
    return float(softmax([tokens.mean() for tokens in log_probs])[0])
