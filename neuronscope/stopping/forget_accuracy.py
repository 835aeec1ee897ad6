"""Stop when the model gives no more of the forget split's answers than by chance.

In a multiple choice, an answer is given if it is more likely than each distractor, and chance is
what blind choice finds (the criterion of arXiv 2509.22263 on FaithUn, which asks by generation). In
other forms it is given if greedy decoding gives it, and chance is 0.
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
    """Stop when the share of answers given on the forget split is at a level or under it."""

    level: float | None = None
    """Share of answers at which to stop; if not given, chance: what blind choice among answer and
    distractors finds, or 0 for greedy answers."""

    kind: Literal["auto", "greedy", "multiple-choice"] = "auto"
    """When an answer counts as given: greedy decoding gives it, or it is more likely than each
    distractor; auto takes the second in the form multiple_choice. By likelihood an answer stays the
    best of its options long after it is no longer given."""

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= 1:
            raise ValueError(f"Expected a level from 0 to 1, got {self.level}.")

    def check(self, facts: FactSet, form: str) -> None:
        super().check(facts, form)
        bare = [fact for fact in facts.forget if not fact.distractors]
        if self.kind == "multiple-choice" and bare:
            raise ValueError(
                f"Stopping by multiple choice needs distractors, and fact {quoted(bare[0].id)} has "
                f"none ({len(bare)} such facts); add them, or stop by greedy answers."
            )

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "ForgetAccuracy":
        """With kind and level."""
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
        return f"Of the forget split {scores[NAME]:.1%} are answered, {self.level:.1%} or less."

    def _kind(self, form: str) -> Literal["greedy", "multiple-choice"]:
        if self.kind != "auto":
            return self.kind
        return "multiple-choice" if form == "multiple_choice" else "greedy"
