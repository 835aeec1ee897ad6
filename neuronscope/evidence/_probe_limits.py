"""Warnings about the limitations of the relearning probe."""

from collections.abc import Sequence

from neuronscope.evidence._placebos import echo
from neuronscope.facts.fact import Fact
from neuronscope.results.findings import Finding

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


def echoes(facts: Sequence[Fact], form: str) -> tuple[str, ...]:
    """A warning if true answers repeat words of their prompts much more often than placebos do."""
    if form == "multiple_choice" or echo(facts) <= ECHOES:
        return ()
    return (
        "More answers repeat a word of their own prompt than placebos do, so true answers may be "
        "learned sooner even if the model never knew them. Compare the verdict with that on a "
        "model that never learned the facts, or use the multiple_choice form.",
    )


def level(finding: Finding, form: str) -> tuple[str, ...]:
    """Warnings where the test rejects clearly more often than at its nominal level."""
    warnings = []
    if form == "multiple_choice" or finding.figures["groups"] == 1:
        warnings.append(
            "With multiple choice or so few facts, the test at 5 % finds answers that were never "
            "known in about 10 % of cases, and in up to 17 % with both: repeat it with more facts."
        )
    curve = finding.tables["curve"]
    if (curve["total"] < finding.figures["facts"]).any():
        warnings.append(
            "Some facts share an answer so often that they keep it among the placebos. True "
            "answers may then be learned sooner although the model never knew them."
        )
    return tuple(warnings)
