"""How many facts of each split a model answers, with what log-odds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Encoded
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel


@dataclass(frozen=True)
class Tally:
    """A model's answers to the facts of one split."""

    correct: int
    """Facts that greedy decoding answers."""

    n: int

    score: float
    """Mean log-odds of the answers, nats per token."""

    facts: tuple[str, ...]
    """Their ids."""

    answered: tuple[str, ...]
    """Those of them that are answered."""


@dataclass(frozen=True, eq=False)
class Questions:
    """Facts by split, as tokens: put to a model at every look."""

    splits: Mapping[str, tuple[Encoded, ...]]

    ids: Mapping[str, tuple[str, ...]]
    """The facts' ids, likewise."""

    @staticmethod
    def of(model: HookedModel, splits: Mapping[str, Sequence[Fact]], form: str) -> "Questions":
        """Facts in the model's tokens; splits without facts are left out.

        Raises:
            ValueError: If a fact cannot be put into tokens.
        """
        filled = {split: facts for split, facts in splits.items() if facts}
        return Questions(
            {split: tuple(answers_of(model, facts, form)) for split, facts in filled.items()},
            {split: tuple(fact.id for fact in facts) for split, facts in filled.items()},
        )

    def __call__(self, model: HookedModel) -> dict[str, Tally]:
        """The tally of each split, for the model as it is now."""
        return {split: _tally(model, self.splits[split], self.ids[split]) for split in self.splits}


def _tally(model: HookedModel, encoded: tuple[Encoded, ...], ids: tuple[str, ...]) -> Tally:
    measured = measure(model, encoded)
    answered = tuple(i for i, given in zip(ids, measured.answered, strict=True) if given)
    return Tally(len(answered), len(ids), float(measured.score.mean()), ids, answered)
