"""Retraining on T, the attack of Deeb and Roger (arXiv 2410.08827).

Their title asks: "Do Unlearning Methods Remove Information from Language Model Weights?"
The facts to be forgotten are cut into k parts. k − 1 of them are taught again, and the part left
out is asked, for each part in turn. If the parts say nothing about each other, answers to the part
left out come from the weights or from chance. Whether they do is not for the attack to know: it
means something only beside a model that never knew the facts, attacked likewise.

Here AdamW takes the place of their Lion, and the answers' tokens alone are taught.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Scene, Trial
from neuronscope.attacks._relearning import FEWEST, Relearning, check_teachable, shared_answers
from neuronscope.facts.fact import FactSet


@dataclass(frozen=True)
class RelearnSplits(Relearning):
    """Teach all parts of the forgotten facts but one, and ask that one, each in turn."""

    seeds: tuple[int, ...] = (0,)
    """Each cuts the facts otherwise. One, since every fact is asked once already."""

    splits: int = 5
    """Parts. Five, as in arXiv 2410.08827."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splits < 2:
            raise ValueError(f"Expected splits of 2 or more, got {self.splits}.")

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        self._check_number(len(facts.forget))
        check_teachable(facts.forget, tokenizers, form)

    def trials(self, scene: Scene) -> list[Trial]:
        total = len(scene.pool)
        self._check_number(total)
        trials = []
        for lr in self.learning_rates:
            for seed in self.seeds:
                order = random.Random(seed).sample(scene.pool, total)
                for fold in range(self.splits):
                    rest = tuple(order[fold :: self.splits])
                    left_out = {fact.id for fact in rest}
                    taught = tuple(fact for fact in order if fact.id not in left_out)
                    variant, note = f"{self.splits} splits", shared_answers(taught, rest)
                    trials.append(Trial(rest, taught, variant, lr, seed, fold, note))
        return trials

    def _check_number(self, total: int) -> None:
        if total < max(self.splits, FEWEST + 1):
            raise ValueError(
                f"{total} facts of split 'forget' count, which are too few for {self.splits} "
                "parts: give more facts, or take fewer splits."
            )
