"""Share of facts whose answer the model generates when the prompt lists three options.

The forgetting score FS of arXiv 2509.22263, which does not specify how answers are matched. Here
the model's choice is the option that the first line of its greedy answer names first, in whole
words; case and whitespace do not matter. A line that names no option is a wrong answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import encode
from neuronscope.metrics._answers import guessing, options
from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._generation import answers_given
from neuronscope.metrics._score import Score, rate_score
from neuronscope.metrics._text import first_lines, first_option

FORM = "multiple_choice"


@dataclass(frozen=True)
class MultipleChoiceGeneration(Metric):
    """Share of answers that the model chooses when the prompt lists them with two distractors.

    The prompt form is always `multiple_choice`.
    """

    generates: ClassVar[bool] = True

    max_new_tokens: int = 32
    """Maximum number of generated tokens: enough for one option."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """Distractors."""
        return ("distractors",)

    def check_tokens(
        self, facts: Sequence[Fact], tokenizer: PreTrainedTokenizerBase, form: str
    ) -> None:
        del form
        for fact in facts:
            encode(fact, tokenizer, FORM, fact.answer)

    def measure(self, exam: Exam) -> Score:
        given = answers_given(exam.model, exam.facts, FORM, self.max_new_tokens)
        listed = [options(fact, FORM) for fact in exam.facts]
        places = [
            first_option(first_lines(text, "one line"), of_fact)
            for text, of_fact in zip(given, listed, strict=True)
        ]
        chosen = [
            "" if place is None else of_fact[place]
            for place, of_fact in zip(places, listed, strict=True)
        ]
        return rate_score(
            "multiple_choice_generation",
            exam.ids,
            np.array([place == 0 for place in places]),
            direction="lower is more forgotten",
            chance=guessing(exam.facts, FORM),
            more={"choice": chosen, "generated": given},
        )
