"""Relearning from some of the forgotten facts: the "harmful" attack of arXiv 2509.22263.

The attack fine-tunes on a share of the forget set, and succeeds to the extent that the held-out
facts recover as well. Erased facts must be learned again one by one; hidden facts recover together.
Since training also biases the model towards answers of the same kind, the control is the same
attack on a model that never learned the facts.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Scene, Trial
from neuronscope.attacks._relearning import FEWEST, Relearning, check_trainable, shared_answers
from neuronscope.facts.fact import FactSet


@dataclass(frozen=True)
class RelearnForget(Relearning):
    """Fine-tune on a share of the forgotten facts, and evaluate the others."""

    share: float = 0.1
    """Share of the pool to train on, at least two facts. arXiv 2509.22263 uses 0.1 and 0.3."""

    count: int | None = None
    """Number of facts to train on, instead of a share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError(f"Expected `share` above 0 and below 1, got {self.share}.")
        if self.count is not None and self.count < FEWEST:
            raise ValueError(f"Expected count of {FEWEST} or more, got {self.count}.")

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        self._size(len(facts.forget))
        check_trainable(facts.forget, tokenizers, form)

    def trials(self, scene: Scene) -> list[Trial]:
        total = len(scene.pool)
        size = self._size(total)
        trials = []
        for lr in self.learning_rates:
            for seed in self.seeds:
                order = random.Random(seed).sample(scene.pool, total)
                taught, rest = tuple(order[:size]), tuple(order[size:])
                variant = f"trained on {size} of {total} facts"
                note = shared_answers(taught, rest)
                trials.append(Trial(rest, taught, variant, lr, seed, note=note))
        return trials

    def _size(self, total: int) -> int:
        """The number of facts to train on."""
        wanted = self.count if self.count is not None else round(self.share * total)
        size = max(FEWEST, wanted)
        if size >= total:
            raise ValueError(
                f"The attack trains on {size} facts and evaluates the others, but the pool has "
                f"{total} facts of split 'forget'; give more facts, or decrease `count` or `share`."
            )
        return size
