"""What it says of the forgotten that answers can, or cannot, be told from distractors."""

import math

import numpy as np
from jaxtyping import Bool, Float

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.evidence._base import Case
from neuronscope.evidence._forgotten import FEWEST
from neuronscope.results.findings import Word


def with_distractors(case: Case) -> Bool[np.ndarray, " fact"]:
    """Which facts have distractors.

    Raises:
        ValueError: If no fact that was to be forgotten has any.
    """
    have = np.array([bool(fact.distractors) for _, fact in case.facts])
    if not (have & case.forget).any():
        raise ValueError(
            f"None of {case.forget.sum()} facts of split 'forget' has distractors: give them "
            "wrong answers of the same kind, or leave this view out."
        )
    return have


def without_distractors(count: int) -> tuple[str, ...]:
    """What a reader must know if facts without distractors were left out."""
    return (f"{count} facts have no distractors and were left out.",) if count else ()


def too_few(forgotten: Bool[np.ndarray, " fact"], which: str) -> tuple[Word, str] | None:
    """The word, and the reason, where too few of the forgotten facts can be asked about.

    Args:
        forgotten: Those that can.
        which: What they have, as in "have distractors".
    """
    count = int(forgotten.sum())
    if count >= FEWEST:
        return None
    return "cannot tell", f"Only {count} forgotten facts {which}; {FEWEST} are needed."


def judged(case: Case, asked: Bool[np.ndarray, " fact"]) -> Bool[np.ndarray, " fact"]:
    """The facts that a reading is about: those forgotten, or all where none is."""
    gone = asked & case.forgotten
    return gone if gone.any() else asked


def share_interval(right: Float[np.ndarray, " fact"]) -> tuple[float, float]:
    """95 % Wilson interval of the mean of shares, with facts as the unit.

    A fact's pairs have the answer in common, so they do not count as tries of their own. A mean of
    shares varies less than a count of the same mean, so the interval is wide rather than narrow;
    it is rounded outwards to whole facts.
    """
    total = round(float(right.sum()), 9)
    low, _ = wilson_interval(math.floor(total), len(right))
    _, high = wilson_interval(math.ceil(total), len(right))
    return low, high


def figures_before(right: Float[np.ndarray, " fact"]) -> dict[str, float]:
    """How much of each fact is read right before, as a mean with its interval."""
    low, high = share_interval(right)
    return {"before": float(right.mean()), "before_low": low, "before_high": high}


def compared(
    before: Float[np.ndarray, " fact"], after: Float[np.ndarray, " fact"], chance: float
) -> tuple[Word, str]:
    """The word, and the reason, from how much of each fact is read right, before and after."""
    low, high = share_interval(after)
    if share_interval(before)[0] <= chance:
        return "cannot tell", "The model before is not clearly above chance itself."
    if low > chance:
        return "hidden", "The answers are not given, and are still there to be read."
    if high < chance:
        return "cannot tell", "The answers are pushed below chance: over-unlearned."
    if high < before.mean():
        return "erased", "That is chance, as after erasing; what suppresses earlier looks the same."
    return "cannot tell", "Facts are too few to tell chance from what was read before."
