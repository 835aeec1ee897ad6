"""The facts of each step, and their division among processes.

The facts of a step do not depend on the number of processes.
"""

import random
from collections.abc import Iterator
from itertools import islice

from neuronscope.facts.fact import Fact
from neuronscope.objectives import Portion, TrainingState


def batches(
    facts: tuple[Fact, ...], size: int, seed: int, split: str, skip: int = 0
) -> Iterator[tuple[Fact, ...]]:
    """Endless batches from successive permutations of the facts.

    Every fact occurs once before any fact occurs again, and at most once in a batch.

    Args:
        size: Facts per batch; all of them if there are fewer. Without facts, batches are empty.
        split: Part of the random seed, so that the splits have independent orders.
        skip: Number of batches to skip, because an interrupted run has already used them.
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
    """One process's share of the facts of a step, in groups that form one forward pass each.

    Every process has the same number of groups, because all processes must run a sharded model the
    same number of times. If the facts do not divide evenly, a group may have `micro_batch` + 1.

    Args:
        index: Index of the process.
        count: Number of processes, at most the number of facts.
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
    """One process's portions of the facts of a step."""
    if not facts:
        return ()
    tokens = int(training.asked(facts).answer_mask.sum())
    return tuple(
        Portion(group, training.asked(group), len(facts), tokens)
        for group in groups_of(facts, index, count, micro_batch)
    )
