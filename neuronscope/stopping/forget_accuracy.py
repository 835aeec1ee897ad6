"""Stop when the model answers no more facts of the forget split than expected by chance.

In multiple choice, a fact is answered if the answer is more likely than each distractor, and chance
is the expected accuracy of guessing (the criterion of arXiv 2509.22263 on FaithUn, which evaluates
by generation). In other forms, a fact is answered if greedy decoding gives the answer, and chance
is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from neuronscope.facts.fact import FactSet, quoted
from neuronscope.metrics import guessing
from neuronscope.metrics.answer_accuracy import AnswerAccuracy
from neuronscope.metrics.multiple_choice_likelihood import MultipleChoiceLikelihood
from neuronscope.models.hooked_model import HookedModel
from neuronscope.stopping._base import StopRule, at_or_under

NAME = "forget_accuracy"


@dataclass(frozen=True)
class ForgetAccuracy(StopRule):
    """Stop when the share of answered facts of the forget split is at or below a level."""

    level: float | None = None
    """Share of answered facts at which to stop; by default, the expected share when guessing among
    answer and distractors, or 0 with greedy decoding."""

    kind: Literal["auto", "greedy", "multiple-choice"] = "auto"
    """When a fact counts as answered: if greedy decoding gives the answer, or if the answer is more
    likely than each distractor; auto uses the latter with the form multiple_choice. An answer often
    remains the most likely option long after greedy decoding no longer gives it."""

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= 1:
            raise ValueError(f"Expected `level` from 0 to 1, got {self.level}.")

    def check(self, facts: FactSet, form: str) -> None:
        super().check(facts, form)
        bare = [fact for fact in facts.forget if not fact.distractors]
        if self.kind == "multiple-choice" and bare:
            raise ValueError(
                f"kind='multiple-choice' needs distractors, but fact {quoted(bare[0].id)} has none "
                f"(facts without distractors: {len(bare)}); add them, or set kind='greedy'."
            )

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "ForgetAccuracy":
        """The rule with kind and level."""
        del model
        self.check(facts, form)
        chosen = self._kind(form)
        chance = guessing(facts.forget, form) if chosen == "multiple-choice" else 0.0
        return replace(self, kind=chosen, level=chance if self.level is None else self.level)

    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        likelihood = self._kind(form) == "multiple-choice"
        metric = MultipleChoiceLikelihood() if likelihood else AnswerAccuracy()
        return {NAME: metric(model, facts.forget, form).value}

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        del norm
        if not at_or_under(NAME, scores[NAME], self.level):
            return None
        return (
            f"The model answers {scores[NAME]:.1%} of the forget split; the stop rule's threshold "
            f"is {self.level:.1%}."
        )

    def _kind(self, form: str) -> Literal["greedy", "multiple-choice"]:
        if self.kind != "auto":
            return self.kind
        return "multiple-choice" if form == "multiple_choice" else "greedy"
