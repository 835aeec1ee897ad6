"""The interface of a stop rule."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel


class StopRule(ABC):
    """A criterion for ending a run: a level, and a score to compare with it.

    Before training, `check` the facts, then `prepare` the rule with the original model. During
    training, `score` the model and call the rule with the scores.
    """

    def check(self, facts: FactSet, form: str) -> None:
        """Raise if the facts lack what this rule needs, before any model is loaded.

        Args:
            form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.

        Raises:
            ValueError: If something is missing; the message names it.
        """
        del form
        if not facts.forget:
            raise ValueError(
                f"{facts.source or 'The facts'}: no fact has split 'forget', which stop rules "
                "evaluate; mark the facts to forget."
            )

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "StopRule":
        """The rule, with the settings that depend on the original model or the facts filled in.

        Raises:
            ValueError: As `check`, or if a setting cannot be computed.
        """
        del model
        self.check(facts, form)
        return self

    @abstractmethod
    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        """The scores of the model in its current state, as columns of the history."""

    @abstractmethod
    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        """The reason to stop, in one sentence, or None.

        Args:
            scores: The result of `score`.
            norm: Distance of the parameters from their initial values, ‖θ − θ0‖.

        Raises:
            ValueError: If the rule was not prepared.
        """


def at_or_under(name: str, value: float, level: float | None) -> bool:
    """Whether a score is at or below a level.

    Raises:
        ValueError: If the rule has no level yet, or the score is not a number.
    """
    return value <= known(name, value, level)


def known(name: str, value: float, level: float | None) -> float:
    """The level, checked to be set and comparable with the value.

    Raises:
        ValueError: If the rule has no level yet, or the value is not a number.
    """
    if level is None:
        raise ValueError(
            f"The stop rule has no level for {name} yet; call prepare before training."
        )
    if math.isnan(value):
        raise ValueError(
            f"{name} is not a number, so the stop rule can never apply; choose a different "
            "stop rule."
        )
    return level
