"""Share of facts whose answer is more likely than each of its distractors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuronscope.metrics._answers import guessing, options, per_option
from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._score import Score, rate_score
from neuronscope.models.targets import log_prob


@dataclass(frozen=True)
class MultipleChoiceLikelihood(Metric):
    """Share of answers that are more likely than each of their distractors, given the prompt."""

    length_normalised: bool = False
    """Compare mean log-probabilities per token instead of those of whole options, which favour
    short ones."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """Distractors."""
        return ("distractors",)

    def measure(self, exam: Exam) -> Score:
        reduce = np.mean if self.length_normalised else np.sum
        likelihood = [
            [float(reduce(tokens)) for tokens in of_fact]
            for of_fact in per_option(exam.model, exam.facts, exam.form, log_prob)
        ]
        places = [choice(values) for values in likelihood]
        chosen = [
            options(fact, exam.form)[place] for fact, place in zip(exam.facts, places, strict=True)
        ]
        return rate_score(
            "multiple_choice_likelihood" + ("_per_token" if self.length_normalised else ""),
            exam.ids,
            np.array([place == 0 for place in places]),
            direction="lower is more forgotten",
            chance=guessing(exam.facts, exam.form),
            more={"choice": chosen},
        )


def choice(likelihood: Sequence[float]) -> int:
    """Index of the likeliest option; the answer (index 0) loses ties."""
    wrong = 1 + int(np.argmax(likelihood[1:]))
    return 0 if likelihood[0] > likelihood[wrong] else wrong
