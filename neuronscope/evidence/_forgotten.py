"""Whether enough facts were forgotten, and thresholds on the share that is recovered."""

import math
from collections.abc import Mapping

from neuronscope.evidence._base import Case
from neuronscope.results.findings import Figure, Finding, Word

FEWEST = 4
"""Minimum number of forgotten facts for a verdict: with fewer, half of them is less than two facts,
which may be chance."""

ENOUGH = 0.5
"""The forgotten answers count as recovered if at least this share of them is; chosen as half."""

ALMOST_NONE = 0.125
"""Share of the forgotten answers up to which a random control counts as having recovered nothing;
chosen as two of sixteen facts, a quarter of `ENOUGH`, because a few facts may be close to being
answered before anything is changed."""


def undecided(case: Case) -> tuple[Word, str] | None:
    """The verdict, with its reason, if too few facts were forgotten; None if enough were.

    Raises:
        ValueError: If the forget set is empty.
    """
    if not case.forget.any():
        raise ValueError("Expected facts of split 'forget', got none.")
    forgotten = int(case.forgotten.sum())
    known = int((case.forget & case.at_first.answered).sum())
    # The verdict of a diagnosis uses the same rule: more than half of the answers are still given.
    if 2 * (known - forgotten) > known:
        return "not forgotten", (
            f"The unlearned model still gives {known - forgotten} of {known} answers."
        )
    if forgotten < FEWEST:
        return "cannot tell", (
            f"Only {forgotten} facts were answered before unlearning and are not answered after "
            f"it; at least {FEWEST} are needed."
        )
    return None


def without_value(
    view: str,
    meaning: str,
    verdict: tuple[Word, str],
    figures: Mapping[str, Figure] | None = None,
) -> Finding:
    """The finding of a view that could not be measured, with the verdict and its reason."""
    word, reason = verdict
    return Finding(view, word, math.nan, (math.nan, math.nan), meaning, reason, dict(figures or {}))


def different_answers(case: Case) -> int:
    """The number of distinct answers of the forgotten facts.

    If it is small, a bias towards one answer could recover many facts.
    """
    facts = zip(case.forgotten, case.facts, strict=True)
    return len({fact.answer.strip() for gone, (_, fact) in facts if gone})
