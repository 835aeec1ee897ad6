"""The facts used by a task."""

import random
from typing import Any

from neuronscope.facts.fact import SPLITS, Fact, FactSet
from neuronscope.facts.loading import load_facts

NULL_FACTS = 8
"""Maximum number of control facts that share no relation with a diagnosed fact. They contribute to
the baseline of integrated gradients and show general damage, but the test for spurious neurons does
not use them. Each takes as long to record as any other fact."""


def read_facts(facts: Any) -> FactSet:
    """A set of facts, read from a file or folder if necessary."""
    return facts if isinstance(facts, FactSet) else load_facts(facts)


def choose_facts(facts: FactSet, split: str, null_facts: int | None, seed: int) -> FactSet:
    """The diagnosed facts, and control facts sampled from the other splits.

    Facts that share a relation with a diagnosed fact are chosen first, because only they can show
    what changes by chance (`analysis/spurious.py`). Among them, and then among all others, retained
    facts are chosen before test facts, and these before utility facts.

    Args:
        split: The diagnosed split; its facts are returned as `forget`.
        null_facts: The number of control facts; by default all that share a relation, but no more
            than there are diagnosed facts, and up to `NULL_FACTS` others, which show whether the
            model is damaged in general.

    Raises:
        ValueError: If the diagnosed split is empty, or `null_facts` is negative.
    """
    diagnosed = facts_of(facts, split)
    if null_facts is not None and null_facts < 0:
        raise ValueError(f"Expected null_facts of 0 or more, got {null_facts}.")
    relations = {fact.relation for fact in diagnosed} - {None}
    rng = random.Random(seed)
    others = [
        (name, fact)
        for name in ("retain", "test", "utility")
        if name != split
        for fact in rng.sample(facts.split(name), len(facts.split(name)))
    ]
    # Sorting is stable: within both groups, the order of the splits remains.
    others.sort(key=lambda other: other[1].relation not in relations)
    if null_facts is None:
        matched = [other for other in others if other[1].relation in relations]
        chosen = matched[: len(diagnosed)]
        chosen += others[len(matched) :][: null_count(diagnosed, None)]
    else:
        chosen = others[:null_facts]
    controls = {name: tuple(fact for place, fact in chosen if place == name) for name, _ in chosen}
    return only(facts, {"forget": diagnosed} | controls)


def with_neutral_facts(
    facts: FactSet, original: Any, form: str, null_facts: int | None
) -> tuple[FactSet, tuple[Fact, ...] | None]:
    """Add neutral facts as controls if there are only facts to forget.

    Args:
        original: The loaded model before unlearning; only neutral facts that it answers are used.
        null_facts: The number of control facts, as in `choose_facts`.

    Returns:
        A pair: the facts, with neutral facts as their utility split; and all neutral facts that
        were found to be answered, whose mean is the baseline for every model even if none of them
        is recorded. If the facts already have controls, they are returned unchanged, with None.
    """
    from neuronscope.models.neutral_facts import neutral_facts

    if any(split != "forget" for split, _ in facts):
        return facts, None
    neutral = neutral_facts(original, form)
    controls = neutral[: null_count(facts.forget, null_facts)]
    # Some models answer them as completions but not in another prompt form.
    baseline = neutral or neutral_facts(original)
    return only(facts, {"forget": facts.forget, "utility": controls}), baseline


def null_count(diagnosed: tuple[Fact, ...], null_facts: int | None) -> int:
    """The number of control facts without a common relation."""
    return min(len(diagnosed), NULL_FACTS) if null_facts is None else null_facts


def facts_of(facts: FactSet, split: str) -> tuple[Fact, ...]:
    """The facts of one split.

    Raises:
        ValueError: If the split does not exist or is empty.
    """
    chosen = facts.split(split)
    if not chosen:
        counts = ", ".join(f"{len(facts.split(name))} {name}" for name in SPLITS)
        raise ValueError(f"{facts.source} has no facts of split {split!r}: it has {counts}.")
    return chosen


def only(facts: FactSet, splits: dict[str, tuple[Fact, ...]]) -> FactSet:
    """A set with only these splits of facts."""
    return FactSet(**splits, source=facts.source, notes=facts.notes)
