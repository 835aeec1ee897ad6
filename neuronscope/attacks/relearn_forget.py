"""Relearning from a part of what was forgotten: the "harmful" attack of arXiv 2509.22263.

A share of the facts to be forgotten is taught again; the attack succeeds as far as the others,
which it never shows, come back with them. What was erased has to be learnt anew, fact by fact; what
was only hidden returns at once. A bias towards the answers' kind returns as well, which is why the
same attack on a model that never knew the facts is the control.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Scene, Trial
from neuronscope.attacks._relearning import FEWEST, Relearning, check_teachable, shared_answers
from neuronscope.facts.fact import FactSet


@dataclass(frozen=True)
class RelearnForget(Relearning):
    """Teach a share of the forgotten facts again, and ask the others."""

    share: float = 0.1
    """Share of the pool that is taught, two facts at least. arXiv 2509.22263 takes 0.1 and 0.3."""

    count: int | None = None
    """Facts that are taught, instead of a share."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share < 1:
            raise ValueError(f"Expected a share above 0 and below 1, got {self.share}.")
        if self.count is not None and self.count < FEWEST:
            raise ValueError(f"Expected a count of {FEWEST} or more, got {self.count}.")

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        self._size(len(facts.forget))
        check_teachable(facts.forget, tokenizers, form)

    def trials(self, scene: Scene) -> list[Trial]:
        total = len(scene.pool)
        size = self._size(total)
        trials = []
        for lr in self.learning_rates:
            for seed in self.seeds:
                order = random.Random(seed).sample(scene.pool, total)
                taught, rest = tuple(order[:size]), tuple(order[size:])
                variant, note = f"{size} of {total} facts", shared_answers(taught, rest)
                trials.append(Trial(rest, taught, variant, lr, seed, note=note))
        return trials

    def _size(self, total: int) -> int:
        """How many of the facts are taught."""
        wanted = self.count if self.count is not None else round(self.share * total)
        size = max(FEWEST, wanted)
        if size >= total:
            raise ValueError(
                f"The attack teaches {size} facts and asks the others, and {total} facts of split "
                "'forget' count: give more facts, or teach fewer."
            )
        return size
