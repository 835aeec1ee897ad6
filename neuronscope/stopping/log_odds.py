"""Stop when the mean log-odds of the answers are at or below a level, the same for all methods."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neuronscope.facts.fact import FactSet
from neuronscope.models.answers import answers_of, per_token
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import log_odds
from neuronscope.stopping._base import StopRule, at_or_under

NAME = "forget_log_odds"


@dataclass(frozen=True)
class LogOdds(StopRule):
    """Stop when the mean log-odds of the forget split's answers are at or below a level."""

    level: float = 0.0
    """Mean log-odds of the answer tokens, in nats, at which to stop; at 0, a token is as likely as
    all others together."""

    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        """Mean over facts of the mean over the tokens of an answer."""
        tokens = per_token(model, answers_of(model, facts.forget, form), log_odds)
        return {NAME: float(np.mean([odds.mean() for odds in tokens]))}

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        del norm
        if not at_or_under(NAME, scores[NAME], self.level):
            return None
        return (
            f"The mean log-odds of the forget split's answers are {scores[NAME]:.3f} nats, "
            f"at or below {self.level:g}."
        )
