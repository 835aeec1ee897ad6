"""Means over the seeds of a method.

Seeds repeat a method on the same facts, so counts are averaged, not summed, and intervals are
computed for the number of facts of one seed.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuronscope.analysis.statistics import wilson_interval

_ATTACKED_AS = ["method", "attack", "model", "variant", "split"]


@dataclass(frozen=True)
class Rate:
    """A rate of answered facts, of one run or averaged over seeds."""

    correct: float
    n: float

    @property
    def share(self) -> float:
        """Share of the facts that are answered; NaN without facts."""
        return self.correct / self.n if self.n else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval; means are rounded to whole counts."""
        return wilson_interval(round(self.correct), round(self.n))


def mean_rate(rows: pd.DataFrame, correct: str = "correct", n: str = "n") -> Rate:
    """The mean rate over rows, one per seed."""
    return Rate(float(rows[correct].mean()), float(rows[n].mean()))


def added(rows: pd.DataFrame) -> Rate:
    """The rate over disjoint strata, averaged over seeds."""
    sums = pd.DataFrame(rows.groupby("seed", dropna=False)[["correct", "n"]].sum())
    return mean_rate(sums)


def pooled_recovery(recovery: pd.DataFrame) -> pd.DataFrame:
    """Recovery under attacks, averaged over the attacked runs.

    Returns:
        One row per method, attack, model, variant and split: `seeds`, `n`, `before_correct`,
        `before`, `maximum_correct`, `maximum`, `maximum_low`, `maximum_high`, `attacked_correct`,
        `attacked_n`, `learnt` (in every run), `reading` (of a single run, or the seeds' counts).
    """
    rows = []
    for keys, here in recovery.groupby(_ATTACKED_AS, dropna=False, sort=False):
        assert isinstance(keys, tuple), "a list of names groups by tuples"
        rows.append(
            dict(zip(_ATTACKED_AS, keys, strict=True))
            | {"seeds": len(here)}
            | _most(here)
            | {name: here[name].mean() for name in ("attacked_correct", "attacked_n")}
            | {"learnt": _learned(here["learnt"])}
            | {"reading": here["reading"].iloc[0] if len(here) == 1 else _repeated(here)}
        )
    return pd.DataFrame(rows)


def pooled_by_learning_rate(rates: pd.DataFrame) -> pd.DataFrame:
    """The maximum at each learning rate, averaged over the attacked runs.

    Returns:
        One row per method, attack, model, variant, split and learning rate: the columns of
        `pooled_recovery` from `n` to `maximum_high`.
    """
    rows = []
    keys = [*_ATTACKED_AS, "lr"]
    for key, here in rates.groupby(keys, dropna=False, sort=False):
        assert isinstance(key, tuple), "a list of names groups by tuples"
        rows.append(dict(zip(keys, key, strict=True)) | _most(here))
    return pd.DataFrame(rows)


def pooled_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Answers at each budget, averaged over the attacked runs.

    Budgets that only some of the runs reached are omitted, because their mean would be over
    different runs.

    Returns:
        One row per method, attack, model, variant, split, learning rate and step: `budget`,
        `seeds`, `correct`, `n`, `share`, `low`, `high`.
    """
    rows = []
    keys = [*_ATTACKED_AS, "lr", "step"]
    for key, here in curves.groupby(keys, dropna=False, sort=False):
        assert isinstance(key, tuple), "a list of names groups by tuples"
        rate = mean_rate(here)
        low, high = rate.interval
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"budget": float(here["budget"].iloc[0]), "seeds": len(here)}
            | {"correct": rate.correct, "n": rate.n, "share": rate.share, "low": low, "high": high}
        )
    table = pd.DataFrame(rows)
    most = table.groupby([*_ATTACKED_AS, "lr"], dropna=False)["seeds"].transform("max")
    return table.loc[table["seeds"] == most].reset_index(drop=True)


def spread(values: pd.Series) -> tuple[float, float]:
    """The lowest and the highest value of several seeds; NaN for a single seed."""
    known = values.dropna()
    return (float(known.min()), float(known.max())) if len(known) > 1 else (np.nan, np.nan)


def _most(here: pd.DataFrame) -> dict[str, float]:
    """Mean answers before an attack, and mean maximum during it."""
    most, before = mean_rate(here, "maximum_correct"), mean_rate(here, "before_correct")
    low, high = most.interval
    return {
        "n": most.n,
        "before_correct": before.correct,
        "before": before.share,
        "maximum_correct": most.correct,
        "maximum": most.share,
        "maximum_low": low,
        "maximum_high": high,
    }


def _learned(values: pd.Series) -> bool | None:
    """Whether every run learned all attacked facts; None if no fact was attacked."""
    known = [bool(value) for value in values if not pd.isna(value)]
    return all(known) if known else None


def _repeated(here: pd.DataFrame) -> str:
    counts = ", ".join(f"{count:.3g}" for count in here["maximum_correct"])
    return f"mean of {len(here)} seeds: {counts}"
