"""Warnings about the limitations of the relearning probe."""

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np

from neuronscope.evidence._placebos import echo
from neuronscope.facts.fact import Fact, content, quoted

ECHOES = 0.25
"""A warning is added if the share of true answers that repeat a word of their prompt exceeds that
of placebos by more than this."""


REPEATED = 0.1
"""True options cannot be compared with random ones if two facts share their true option more often
than random options by more than this."""


def left_out(forgotten: int, usable: int, used: int) -> tuple[str, ...]:
    """Warnings about facts that were not used."""
    warnings = []
    if usable < forgotten:
        warnings.append(
            f"{forgotten - usable} of {forgotten} forgotten facts were left out: their prompt "
            "occurs twice, or no other fact of their relation has a different answer to serve as a "
            "placebo."
        )
    if used < usable:
        warnings.append(f"A random sample of {used} of {usable} forgotten facts was used.")
    return tuple(warnings)


def not_probed(count: int) -> tuple[str, ...]:
    """A warning about facts that the experiment had to leave out."""
    if not count:
        return ()
    return (
        f"{count} facts were left out: the model gives their answers in the numerical precision "
        "of the probe, or no placebo was found for them.",
    )


def echoes(facts: Sequence[Fact], form: str) -> tuple[str, ...]:
    """A warning if true answers repeat words of their prompts much more often than placebos do."""
    if form == "multiple_choice" or echo(facts) <= ECHOES:
        return ()
    return (
        "True answers repeat a word of their prompt more often than placebos do, so they may be "
        "learned sooner even if the model never knew them. Compare the verdict with that on a "
        "model that never learned the facts, or use the multiple_choice form.",
    )


def repeats(facts: Sequence[Fact], form: str) -> str:
    """The reason why true options cannot be compared with random ones; empty if they can.

    If many prompts have the same true option, but different wrong ones, the true options are easier
    to learn together, even for a model that never knew them.
    """
    if form != "multiple_choice" or len(facts) < 2:
        return ""
    true = _agreement([[fact.answer] for fact in facts])
    random = _agreement([[fact.answer, *fact.distractors[:2]] for fact in facts])
    if true - random <= REPEATED:
        return ""
    return (
        f"Two facts have the same true answer with a probability of {true:.0%}, but the same "
        f"random option only with {random:.0%}. Repeated answers are easier to learn together, "
        "whether or not they were known: use the completion form, or distractors from the other "
        "answers."
    )


def _agreement(options: Sequence[Sequence[str]]) -> float:
    """How likely random options of two different facts are equal."""
    pairs = [
        np.mean([a.strip() == b.strip() for a in one for b in other])
        for one, other in combinations(options, 2)
    ]
    return float(np.mean(pairs))


def dominated(facts: Sequence[Fact], form: str) -> tuple[str, ...]:
    """A warning if most facts of a relation share their answer."""
    if form == "multiple_choice":
        return ()
    relations: dict[str, list[str]] = {}
    for fact in facts:
        relations.setdefault(fact.relation or "", []).append(content(fact)[1])
    most = [name for name, own in relations.items() if 2 * max(Counter(own).values()) > len(own)]
    if not most:
        return ()
    names = ", ".join(quoted(name) for name in most if name) or "without a name"
    return (
        f"In the relations {names}, most facts share their answer. The wrong answers among the "
        "placebos are then mostly rare ones, which are learned later, so the hidden share is too "
        "high; p is not affected.",
    )


def unrelated(facts: Sequence[Fact], form: str) -> tuple[str, ...]:
    """A warning if the facts' relations are unknown."""
    without = sum(fact.relation is None for fact in facts)
    if form == "multiple_choice" or not without:
        return ()
    return (
        f"{without} of {len(facts)} facts have no relation and are treated as if they shared one. "
        "If their answers are of different kinds, placebos may be learned later only because they "
        "do not fit their prompts: set the facts' relation.",
    )
