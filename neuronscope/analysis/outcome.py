"""The answers before and after: score, probability and greedy decoding."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuronscope.analysis.statistics import mean_interval
from neuronscope.results.comparison import Comparison

ENOUGH = 4
"""Number of facts of other relations that show whether a model is damaged in general."""


@dataclass(frozen=True)
class Counts:
    """How many answers were known before, and how many of these are still given."""

    known: int
    """Facts of the forget set that were answered before."""

    still: int
    """Those of them that are still answered."""

    others: int
    """Facts of other splits that were answered before. If at least `ENOUGH` of these do not have a
    relation of the forget set, only they count, because a model that forgot a whole relation is not
    damaged in general."""

    kept: int
    """Those of them that are still answered."""

    @staticmethod
    def of(facts: pd.DataFrame) -> "Counts":
        """Count the answers in a `fact_table`."""
        known = facts["answered_before"].astype(bool)
        still = known & facts["answered_after"].astype(bool)
        forget = facts["split"] == "forget"
        others = ~forget
        if "relation" in facts:
            forgotten = facts.loc[forget, "relation"].dropna()
            unrelated = others & ~facts["relation"].isin(forgotten)
            if (known & unrelated).sum() >= ENOUGH:
                others = unrelated
        return Counts(
            int((known & forget).sum()),
            int((still & forget).sum()),
            int((known & others).sum()),
            int((still & others).sum()),
        )


@dataclass(frozen=True)
class Outcome:
    """Means and counts over the forget set; scores in the target's unit."""

    score_before: float
    score_after: float
    probability_before: float
    probability_after: float

    drop: float
    """Score before − score after."""

    drop_ci95: tuple[float, float]
    """95 % interval over facts; NaN with fewer than two facts."""

    answered_before: int
    answered_after: int

    still_answered: int
    """Facts answered before and after."""


def fact_table(comparison: Comparison) -> pd.DataFrame:
    """One row per recorded fact.

    Returns:
        Columns `fact`, `split`, `relation` (None if unknown), and `score`, `probability`,
        `answered`, each `_before` and `_after`.
    """
    before, after = comparison.before, comparison.after
    return pd.DataFrame(
        {
            "fact": before.fact_ids,
            "split": before.splits,
            "relation": before.relations or [None] * len(before.fact_ids),
            "score_before": before.score.astype(np.float64),
            "score_after": after.score.astype(np.float64),
            "probability_before": before.probability.astype(np.float64),
            "probability_after": after.probability.astype(np.float64),
            "answered_before": before.answered,
            "answered_after": after.answered,
        }
    )


def outcome(facts: pd.DataFrame) -> Outcome:
    """Summarize a `fact_table` over the split `forget`.

    Raises:
        ValueError: If the split is empty.
    """
    forgotten = facts.loc[facts["split"] == "forget"]
    if forgotten.empty:
        splits = sorted(facts["split"].unique())
        raise ValueError(f"Expected facts of split 'forget', got only {splits}.")
    drops = forgotten["score_before"].to_numpy() - forgotten["score_after"].to_numpy()
    low, high = mean_interval(drops)
    return Outcome(
        score_before=float(forgotten["score_before"].mean()),
        score_after=float(forgotten["score_after"].mean()),
        probability_before=float(forgotten["probability_before"].mean()),
        probability_after=float(forgotten["probability_after"].mean()),
        drop=float(drops.mean()),
        drop_ci95=(float(low), float(high)),
        answered_before=int(forgotten["answered_before"].sum()),
        answered_after=int(forgotten["answered_after"].sum()),
        still_answered=int((forgotten["answered_before"] & forgotten["answered_after"]).sum()),
    )
