"""Share of facts whose answer greedy decoding gives: every token of it is the most likely one."""

from dataclasses import dataclass

import numpy as np

from neuronscope.metrics._answers import answers_of, hits, per_token
from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._score import Score, rate_score


@dataclass(frozen=True)
class AnswerAccuracy(Metric):
    """How many answers greedy decoding gives word for word; found without generating."""

    def measure(self, exam: Exam) -> Score:
        tokens = per_token(exam.model, answers_of(exam.model, exam.facts, exam.form), hits)
        given = np.array([bool(hit.all()) for hit in tokens])
        direction = "lower is more forgotten"
        return rate_score("answer_accuracy", exam.ids, given, direction=direction, chance=0.0)
