"""Share of facts that greedy decoding answers: every token of the answer is the most likely one."""

from dataclasses import dataclass

from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._score import Score, rate_score
from neuronscope.models.answers import answers_of, measure


@dataclass(frozen=True)
class AnswerAccuracy(Metric):
    """Share of answers that greedy decoding gives word for word; computed without generation."""

    def measure(self, exam: Exam) -> Score:
        given = measure(exam.model, answers_of(exam.model, exam.facts, exam.form)).answered
        direction = "lower is more forgotten"
        return rate_score("answer_accuracy", exam.ids, given, direction=direction, chance=0.0)
