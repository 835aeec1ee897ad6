"""Verdicts based on how well the forgotten answers can be distinguished from distractors."""

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
        ValueError: If no fact of the forget set has any.
    """
    have = np.array([bool(fact.distractors) for _, fact in case.facts])
    if not (have & case.forget).any():
        raise ValueError(
            f"None of the {case.forget.sum()} facts of split 'forget' has distractors: add wrong "
            "answers of the same kind, or leave this view out."
        )
    return have


def without_distractors(count: int) -> tuple[str, ...]:
    """The warning if facts without distractors were left out."""
    return (f"{count} facts were left out because they have no distractors.",) if count else ()


def too_few(forgotten: Bool[np.ndarray, " fact"], which: str) -> tuple[Word, str] | None:
    """The verdict, with its reason, if the view covers too few forgotten facts.

    Args:
        forgotten: The forgotten facts that the view covers.
        which: The condition that they meet, e.g. "have distractors".
    """
    count = int(forgotten.sum())
    if count >= FEWEST:
        return None
    return "cannot tell", f"Only {count} forgotten facts {which}; at least {FEWEST} are needed."


def forgotten_or_all(case: Case, chosen: Bool[np.ndarray, " fact"]) -> Bool[np.ndarray, " fact"]:
    """The chosen facts that were forgotten, or all chosen facts if none was."""
    gone = chosen & case.forgotten
    return gone if gone.any() else chosen


def share_interval(right: Float[np.ndarray, " fact"]) -> tuple[float, float]:
    """95 % Wilson interval of the mean of shares, with facts as the unit.

    A fact's comparisons of its answer with each distractor share that answer, so they are not
    independent trials. A mean of shares
    varies less than a count with the same mean, so the interval is conservative; it is rounded
    outwards to whole facts.
    """
    total = round(float(right.sum()), 9)
    low, _ = wilson_interval(math.floor(total), len(right))
    _, high = wilson_interval(math.ceil(total), len(right))
    return low, high


def figures_before(right: Float[np.ndarray, " fact"]) -> dict[str, float]:
    """The mean share of correct comparisons in the original model, with its interval."""
    low, high = share_interval(right)
    return {"before": float(right.mean()), "before_low": low, "before_high": high}


def compared(
    before: Float[np.ndarray, " fact"], after: Float[np.ndarray, " fact"], chance: float
) -> tuple[Word, str]:
    """The verdict, with its reason, from each fact's share of correct comparisons in each model."""
    low, high = share_interval(after)
    if share_interval(before)[0] <= chance:
        return "cannot tell", "Even the original model is not clearly above chance."
    if low > chance:
        return "hidden", "The unlearned model does not give the answers, but still encodes them."
    if high < chance:
        return "cannot tell", (
            "This is below chance: the answers rank below their distractors (over-unlearning)."
        )
    if high < before.mean():
        return "erased", (
            "This is chance level, as expected after erasure; suppression in earlier layers would "
            "look the same."
        )
    return "cannot tell", (
        "There are too few facts to distinguish chance from the level of the original model."
    )
