"""Warnings about the limitations of the relearning probe."""

from collections.abc import Sequence

from neuronscope.evidence._placebos import echo
from neuronscope.facts.fact import Fact

ECHOES = 0.25
"""A warning is added if the share of true answers that repeat a word of their prompt exceeds that
of placebos by more than this."""


def left_out(forgotten: int, usable: int, used: int) -> tuple[str, ...]:
    """Warnings about facts that were not used."""
    warnings = []
    if usable < forgotten:
        warnings.append(
            f"{forgotten - usable} of {forgotten} forgotten facts were left out, because no other "
            "fact of their relation has a different answer to serve as a placebo."
        )
    if used < usable:
        warnings.append(f"A random sample of {used} of {usable} forgotten facts was used.")
    return tuple(warnings)


def not_probed(count: int) -> tuple[str, ...]:
    """A warning about facts that the experiment had to leave out."""
    if not count:
        return ()
    return (
        f"{count} facts were left out: in the numerical precision of the probe, the model gives "
        "their answers, or every wrong answer that could be a placebo.",
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
