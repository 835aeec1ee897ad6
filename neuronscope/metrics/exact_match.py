"""Share of facts whose answer the model generates: the exact match of question answering.

Texts are compared without case, punctuation and articles, as for SQuAD (Rajpurkar et al., arXiv
1606.05250). The generated text is cut to as many lines as the answer has.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._generation import answers_given
from neuronscope.metrics._score import Score, rate_score
from neuronscope.metrics._text import begins_with, first_lines, same_answer


@dataclass(frozen=True)
class ExactMatch(Metric):
    """Share of answers that the model generates exactly, by greedy decoding."""

    generates: ClassVar[bool] = True

    match: Literal["whole", "beginning"] = "whole"
    """Whether the generated text must be the answer alone, or may continue after it, as for models
    that were not tuned to answer questions."""

    max_new_tokens: int = 200
    """Maximum number of generated tokens, as in the TOFU benchmark."""

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
