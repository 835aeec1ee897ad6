"""ROUGE-L of what the model answers against the true answers."""

from dataclasses import dataclass

import numpy as np

from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._generation import answers_given
from neuronscope.metrics._rouge import RougePart, rouge_l_score
from neuronscope.metrics._score import Score, mean_score


@dataclass(frozen=True)
class RougeL(Metric):
    """How much of the true answers the model's greedy answers hold, word for word in order."""

    part: RougePart = "recall"
    """Share of the true answer's words that are found (TOFU; rewards rambling), or its F1 with the
    share of the given words that are right (MUSE)."""

    max_new_tokens: int = 200
    """Tokens that the model may write, as in the TOFU benchmark."""

    @property
    def generates(self) -> bool:
        return True

    def measure(self, exam: Exam) -> Score:
        given = answers_given(exam.model, exam.facts, exam.form, self.max_new_tokens)
        values = [
            rouge_l_score(fact.answer, text, self.part)
            for fact, text in zip(exam.facts, given, strict=True)
        ]
        return mean_score(
            f"rouge_l_{self.part}",
            exam.ids,
            np.array(values),
            unit="share of words" if self.part == "recall" else "F1",
            direction="lower is more forgotten",
            undefined="have answers without a-z and 0-9, of which ROUGE makes no words",
            more={"generated": given},
        )
