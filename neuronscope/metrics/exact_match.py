"""Share of facts whose answer the model writes: the exact match of question answering.

Compared without case, punctuation and articles, as for SQuAD (Rajpurkar et al., arXiv 1606.05250).
Of what the model wrote, as many lines count as the answer has.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._generation import answers_given
from neuronscope.metrics._score import Score, rate_score
from neuronscope.metrics._text import begins_with, first_lines, same_answer


@dataclass(frozen=True)
class ExactMatch(Metric):
    """How many answers the model writes, greedily, and nothing else."""

    match: Literal["whole", "beginning"] = "whole"
    """Whether the model's line must be the answer, or may go on after it; a model that was not
    tuned to answer questions goes on."""

    max_new_tokens: int = 200
    """Tokens that the model may write, as in the TOFU benchmark."""

    @property
    def generates(self) -> bool:
        return True

    def measure(self, exam: Exam) -> Score:
        given = answers_given(exam.model, exam.facts, exam.form, self.max_new_tokens)
        compare = same_answer if self.match == "whole" else begins_with
        right = [
            compare(first_lines(text, fact.answer), fact.answer)
            for text, fact in zip(given, exam.facts, strict=True)
        ]
        return rate_score(
            "exact_match" + ("" if self.match == "whole" else "_beginning"),
            exam.ids,
            np.array(right),
            direction="lower is more forgotten",
            chance=0.0,
            more={"generated": given},
        )
