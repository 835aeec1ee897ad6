"""How many facts of each split a model answers, and with which log-odds."""

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
    """Number of facts that greedy decoding answers."""

    n: int
    """Number of facts."""

    score: float
    """Mean log-odds of the answers, nats per token."""

    facts: tuple[str, ...]
    """Ids of the facts."""

    answered: tuple[str, ...]
    """Ids of the facts that are answered."""


@dataclass(frozen=True, eq=False)
class Questions:
    """Encoded facts by split, on which a model is evaluated repeatedly."""

    splits: Mapping[str, tuple[Encoded, ...]]

    ids: Mapping[str, tuple[str, ...]]
    """Ids of the facts, by split."""

    @staticmethod
    def of(model: HookedModel, splits: Mapping[str, Sequence[Fact]], form: str) -> "Questions":
        """Encode the facts with the model's tokenizer, and leave out splits without facts.

        Raises:
            ValueError: If a fact cannot be encoded.
        """
        filled = {split: facts for split, facts in splits.items() if facts}
        return Questions(
            {split: tuple(answers_of(model, facts, form)) for split, facts in filled.items()},
            {split: tuple(fact.id for fact in facts) for split, facts in filled.items()},
        )

    def __call__(self, model: HookedModel) -> dict[str, Tally]:
        """Evaluate the model in its current state on each split."""
        return {split: _tally(model, self.splits[split], self.ids[split]) for split in self.splits}


def _tally(model: HookedModel, encoded: tuple[Encoded, ...], ids: tuple[str, ...]) -> Tally:
    measured = measure(model, encoded)
    answered = tuple(i for i, given in zip(ids, measured.answered, strict=True) if given)
    return Tally(len(answered), len(ids), float(measured.score.mean()), ids, answered)
