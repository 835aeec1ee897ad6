"""The facts that a task works on."""

import random
from typing import Any

from neuronscope.facts.fact import SPLITS, Fact, FactSet
from neuronscope.facts.loading import load_facts

NULL_FACTS = 8
"""Enough for the smallest p-value against 16 facts to be 1 in 735,471; each costs what a fact does.
"""


def read_facts(facts: Any) -> FactSet:
    """A set of facts, which may still have to be read from a file or folder."""
    return facts if isinstance(facts, FactSet) else load_facts(facts)


def choose_facts(facts: FactSet, split: str, null_facts: int | None, seed: int) -> FactSet:
    """The facts under judgement, and as many drawn from those that were not to be forgotten.

    Args:
        split: The split under judgement; it is recorded as `forget`.
        null_facts: How many others; if not given, as many as there are under judgement, and at
            most `NULL_FACTS`.

    Raises:
        ValueError: If there are no facts under judgement, or the number of others is negative.
    """
    judged = facts_of(facts, split)
    if null_facts is not None and null_facts < 0:
        raise ValueError(f"Expected null_facts of 0 or more, got {null_facts}.")
    count = null_count(judged, null_facts)
    # Retained facts first: a method was made to keep those. Utility facts only where no others are.
    for name in ("retain", "test", "utility"):
        others = facts.split(name)
        if name != split and others and count:
            drawn = random.Random(seed).sample(others, min(count, len(others)))
            return only(facts, {"forget": judged, name: tuple(drawn)})
    return only(facts, {"forget": judged})


def null_count(judged: tuple[Fact, ...], null_facts: int | None) -> int:
    """How many facts that were not to be forgotten are recorded beside those under judgement."""
    return min(len(judged), NULL_FACTS) if null_facts is None else null_facts


def facts_of(facts: FactSet, split: str) -> tuple[Fact, ...]:
    """The facts of one split.

    Raises:
        ValueError: If there is no such split, or it is empty.
    """
    found = facts.split(split)
    if not found:
        counts = ", ".join(f"{len(facts.split(name))} {name}" for name in SPLITS)
        raise ValueError(f"{facts.source} has no facts of split {split!r}: it has {counts}.")
    return found


def only(facts: FactSet, splits: dict[str, tuple[Fact, ...]]) -> FactSet:
    """Some of a set's facts, under the names of the splits given."""
    return FactSet(**splits, source=facts.source, notes=facts.notes)
