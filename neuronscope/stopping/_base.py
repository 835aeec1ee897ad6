"""What every stop rule takes and says."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel


class StopRule(ABC):
    """When to stop: a level, and what is measured to be held against it.

    Before training, `check` the facts, then `prepare` the rule with the model as it is. While
    training, `score` the model and ask the rule.
    """

    def check(self, facts: FactSet, form: str) -> None:
        """Refuse facts that it cannot be had of, before any model is loaded.

        Args:
            form: How a fact is put to the model, one of `neuronscope.facts.prompts.PROMPT_FORMS`.

        Raises:
            ValueError: With what is missing.
        """
        del form
        if not facts.forget:
            raise ValueError(f"{facts.source or 'The facts'}: no fact of split 'forget'.")

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "StopRule":
        """The same rule with every number filled in that depends on the model before, or on facts.

        Raises:
            ValueError: As `check`, or if a number cannot be had.
        """
        del model
        self.check(facts, form)
        return self

    @abstractmethod
    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        """What the rule wants to know of the model as it is now: columns of the history."""

    @abstractmethod
    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        """The reason to stop, in one sentence, or None.

        Args:
            scores: What `score` measured.
            norm: How far the parameters have moved, ‖θ − θ0‖.

        Raises:
            ValueError: If the rule was not prepared.
        """


def at_or_under(name: str, value: float, level: float | None) -> bool:
    """Whether a score has come down to a level.

    Raises:
        ValueError: If there is no level yet, or the score is not a number.
    """
    return value <= known(name, value, level)


def known(name: str, value: float, level: float | None) -> float:
    """The level, where both it and what is held against it are there.

    Raises:
        ValueError: If not.
    """
    if level is None:
        raise ValueError(f"The stop rule has no level for {name} yet: prepare it before training.")
    if math.isnan(value):
        raise ValueError(f"{name} is not a number, so that the stop rule can never be met.")
    return level
