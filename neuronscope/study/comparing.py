"""Paired comparisons of methods: recovery under the same attack, and retention of the same facts.

The unit is a fact: both methods are evaluated on the same facts after the same attack, and the
seeds of a method are averaged within each fact, so that they do not inflate the sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import permutation_test

from neuronscope.analysis.statistics import mean_interval
from neuronscope.results.attack_table import RANDOM, REST
from neuronscope.results.study_tables import FORGOTTEN

RESAMPLES = 2**16
"""The permutation test is exact for up to 16 facts, and samples signs beyond that."""


@dataclass(frozen=True)
class Pair:
    """A method, and the method it is compared with."""

    method: str
    other: str


def comparisons(
    tables: Mapping[str, Sequence[pd.DataFrame]], attack: str, pairs: Sequence[Pair]
) -> pd.DataFrame:
    """Recovery of each fact under one attack, compared between methods.

    Args:
        tables: For each method, the attack's table for each of its runs.
        attack: The name of the attack.

    Returns:
        One row per pair and variant of the attack, except its random control: `attack`, `variant`,
        `method`, `other`, `facts`, the mean shares `share` and `other_share`, their `difference`
        (method - other) with its 95 % bootstrap interval over facts `low`, `high`, the two-sided
        `p` of a sign-flip permutation test over facts (not corrected for other pairs), and
        `reading`.
    """
    rows = []
    for variant in _variants(tables):
        shares = {method: fact_shares(runs, variant) for method, runs in tables.items()}
        for pair in pairs:
            result = _compared(shares[pair.method], shares[pair.other])
            rows.append(
                {"attack": attack, "variant": variant, "method": pair.method, "other": pair.other}
                | result
                | {"reading": _reading(result, pair, "are recovered", "after")}
            )
    return pd.DataFrame(rows)


def retention(answers: Mapping[str, Sequence[pd.DataFrame]], pairs: Sequence[Pair]) -> pd.DataFrame:
    """Retention of each stratum of facts, compared between methods.

    Args:
        answers: For each method, the answers of each of its runs, as returned by
            `metrics.answers`.

    Returns:
        One row per pair, stratum and use of the facts that were not to be forgotten: `stratum`,
        `use`, `method`, `other`, and from `facts` on the columns of `comparisons`.
    """
    shares = {method: _kept(pd.concat(runs)) for method, runs in answers.items()}
    rows = []
    for pair in pairs:
        for (stratum, use), own in shares[pair.method].items():
            result = _compared(own, shares[pair.other][stratum, use])
            rows.append(
                {"stratum": stratum, "use": use, "method": pair.method, "other": pair.other}
                | result
                | {"reading": _reading(result, pair, "are retained", "by")}
            )
    return pd.DataFrame(rows)


def _kept(answers: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """The share of runs that answer each fact to retain, by stratum and use."""
    kept = answers.loc[answers["use"] != FORGOTTEN]
    return {
        (str(rows["stratum"].iloc[0]), str(rows["use"].iloc[0])): rows.groupby("fact")[
            "answered"
        ].mean()
        for _, rows in kept.groupby(["stratum", "use"], sort=False)
    }


def fact_shares(runs: Sequence[pd.DataFrame], variant: str = "") -> pd.Series:
    """The share of runs and draws in which each held-out fact is answered after an attack.

    A draw counts at its best evaluation over learning rates and steps: the one with the most
    held-out facts answered, over all folds. This maximum is biased upwards, equally for all
    methods.

    Args:
        runs: The attack's table for each run of one method.
        variant: The variant of the attack.
    """
    recovered: dict[str, list[bool]] = {}
    for table in runs:
        rest = table.loc[(table["split"] == REST) & (table["variant"] == variant)]
        for _, draw in rest.groupby("seed"):
            best = _best_evaluation(draw)
            known = {fact for answered in best["answered"] for fact in answered}
            for fact in (fact for facts in best["facts"] for fact in facts):
                recovered.setdefault(fact, []).append(fact in known)
    shares = {fact: float(np.mean(known)) for fact, known in recovered.items()}
    return pd.Series(shares, dtype=float)


def _variants(tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[str]:
    """The variants of an attack, in order of occurrence, without its random control."""
    every = (str(name) for runs in tables.values() for run in runs for name in run["variant"])
    return [name for name in dict.fromkeys(every) if name != RANDOM]


def _best_evaluation(draw: pd.DataFrame) -> pd.DataFrame:
    """The first evaluation with the most facts answered, as one row per fold."""
    every = [rows for _, rows in draw.groupby(["step", "lr"], dropna=False)]
    # After a fold has ended early, evaluations cover fewer facts and are not comparable.
    folds = max(len(rows) for rows in every)
    complete = [rows for rows in every if len(rows) == folds]
    return max(complete, key=lambda rows: rows["correct"].sum() / rows["n"].sum())


def _compared(one: pd.Series, other: pd.Series) -> dict[str, int | float]:
    """The mean shares of two methods on the same facts, and the test of their difference."""
    both = one.index.intersection(other.index)
    gaps = np.asarray(one[both] - other[both], dtype=np.float64)
    low, high = mean_interval(gaps)
    return {
        "facts": len(both),
        "share": float(one[both].mean()),
        "other_share": float(other[both].mean()),
        "difference": float(gaps.mean()),
        "low": float(low),
        "high": float(high),
        "p": _p(gaps),
    }


def _reading(result: Mapping[str, int | float], pair: Pair, verb: str, preposition: str) -> str:
    return (
        f"{result['share']:.0%} of {result['facts']} facts {verb} {preposition} {pair.method}, "
        f"{result['other_share']:.0%} {preposition} {pair.other}."
    )


def _p(gaps: Float[np.ndarray, " fact"]) -> float:
    # One fact can never be significant.
    if len(gaps) < 2 or not gaps.any():
        return 1.0
    test = permutation_test(
        (gaps, np.zeros_like(gaps)),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)
