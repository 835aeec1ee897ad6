"""Which facts each step takes, and how processes divide them: the same for any number of them."""

import random
from collections.abc import Iterator
from itertools import islice

from neuronscope.facts.fact import Fact
from neuronscope.objectives import Portion, TrainingState


def batches(
    facts: tuple[Fact, ...], size: int, seed: int, split: str, skip: int = 0
) -> Iterator[tuple[Fact, ...]]:
    """Batches without end: one permutation of the facts after the other.

    Every fact comes once before any comes again, and never twice in a batch.

    Args:
        size: Facts in a batch; all of them where there are fewer. Without facts, batches are empty.
        split: Each split has an order of its own.
        skip: Batches to leave out at the beginning: those of a run that is taken up again.
    """
    return islice(_batches(facts, size, random.Random(f"{seed} {split}")), skip, None)


def _batches(
    facts: tuple[Fact, ...], size: int, chance: random.Random
) -> Iterator[tuple[Fact, ...]]:
    size = min(size, len(facts))
    left: list[Fact] = []
    while True:
        batch, left = left[:size], left[size:]
        if len(batch) < size:
            fresh = chance.sample(facts, len(facts))
            fresh.sort(key=lambda fact: fact in batch)
            missing = size - len(batch)
            batch, left = batch + fresh[:missing], fresh[missing:]
        yield tuple(batch)


def groups_of(
    facts: tuple[Fact, ...], index: int, count: int, micro_batch: int
) -> list[tuple[Fact, ...]]:
    """One process's share of a step's facts, in groups that pass together.

    Every process has as many groups, because sharded models have to be passed in step. Where there
    are not as many facts for each, a group is larger by one than `micro_batch`.

    Args:
        index: Of the process.
        count: Processes; not more than facts.
    """
    mine = _part(facts, index, count)
    largest = -(-len(facts) // count)
    groups = min(-(-largest // micro_batch), len(facts) // count)
    return [_part(mine, i, groups) for i in range(groups)]


def _part(facts: tuple[Fact, ...], index: int, count: int) -> tuple[Fact, ...]:
    return facts[index * len(facts) // count : (index + 1) * len(facts) // count]


def portions_of(
    training: TrainingState, facts: tuple[Fact, ...], index: int, count: int, micro_batch: int
) -> tuple[Portion, ...]:
    """One process's portions of a step's facts."""
    if not facts:
        return ()
    tokens = int(training.asked(facts).answer_mask.sum())
    return tuple(
        Portion(group, training.asked(group), len(facts), tokens)
        for group in groups_of(facts, index, count, micro_batch)
    )
