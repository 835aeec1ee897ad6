"""ROUGE-L of the model's answers against the true answers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._generation import answers_given
from neuronscope.metrics._rouge import RougePart, rouge_l_score
from neuronscope.metrics._score import Score, mean_score


@dataclass(frozen=True)
class RougeL(Metric):
    """How much of the true answers the model's greedy answers contain, as words in order."""

    generates: ClassVar[bool] = True

    part: RougePart = "recall"
    """Recall, the share of the true answer's words that occur (TOFU; rewards long answers), or the
    F1 of recall and precision (MUSE)."""

    max_new_tokens: int = 200
    """Maximum number of generated tokens, as in the TOFU benchmark."""

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
            within=(0.0, 1.0),
            direction="lower is more forgotten",
            undefined="have answers without a-z and 0-9, in which ROUGE finds no words",
            more={"generated": given},
        )
