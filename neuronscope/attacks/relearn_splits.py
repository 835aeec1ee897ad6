"""Retraining on T, the attack of Deeb and Roger (arXiv 2410.08827).

The paper: "Do Unlearning Methods Remove Information from Language Model Weights?"
The forget set is divided into k parts. For each part in turn, the attack fine-tunes on the other
k − 1 parts (T) and evaluates the held-out part. If the parts carry no information about each other,
answers to the held-out part come from the weights or from chance. The attack cannot verify this
condition: compare with the same attack on a model that never learned the facts.

Unlike the paper, this attack uses AdamW instead of Lion, and the loss covers only answer tokens.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Scene, Trial
from neuronscope.attacks._relearning import FEWEST, Relearning, check_trainable, shared_answers
from neuronscope.facts.fact import FactSet


@dataclass(frozen=True)
class RelearnSplits(Relearning):
    """In turn, fine-tune on all parts of the forgotten facts but one, and evaluate that one."""

    seeds: tuple[int, ...] = (0,)
    """Seeds, each of which divides the facts differently. One seed suffices to evaluate every fact
    once."""

    splits: int = 5
    """Number of parts. Five, as in arXiv 2410.08827."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.splits < 2:
            raise ValueError(f"Expected splits of 2 or more, got {self.splits}.")

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        self._check_number(len(facts.forget))
        check_trainable(facts.forget, tokenizers, form)

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
                f"The pool has {total} facts of split 'forget', which is too few for "
                f"{self.splits} parts; give more facts, or decrease `splits`."
            )
