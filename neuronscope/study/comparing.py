"""Whether one method's facts come back less than another's: paired by fact.

A fact is the unit: the two methods are asked the same facts, after the same attack, and what
several seeds make of one fact is averaged before anything is compared. Seeds do not multiply facts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import false_discovery_control, permutation_test

from neuronscope.analysis.statistics import mean_interval
from neuronscope.attacks._table import REST

RESAMPLES = 2**16
"""Signs are all tried up to 16 facts, and drawn beyond."""

BEYOND_CHANCE = 0.05
"""Share of false findings among those that are called beyond chance."""


@dataclass(frozen=True)
class Pair:
    """A method, and one that it is held against."""

    method: str
    other: str


def comparisons(
    tables: Mapping[str, Sequence[pd.DataFrame]], attack: str, pairs: Iterable[Pair]
) -> pd.DataFrame:
    """What comes back of each fact under one attack, method beside method.

    Args:
        tables: By method, the attack's table for each run of it.
        attack: What the attack is called.

    Returns:
        One row per pair: `attack`, `method`, `other`, `facts`, the mean shares `back` and
        `other_back`, their `difference` (method - other) with its 95 % bootstrap interval over
        facts `low`, `high`, the two-sided `p` of a permutation of signs over facts, `q` (Benjamini
        and Hochberg, over the pairs of this attack), and `reading`.
    """
    shares = {method: fact_shares(runs) for method, runs in tables.items()}
    rows = []
    for pair in pairs:
        one, other = shares[pair.method], shares[pair.other]
        both = one.index.intersection(other.index)
        gaps = (one[both] - other[both]).to_numpy(dtype=np.float64)
        low, high = mean_interval(gaps)
        rows.append(
            {
                "attack": attack,
                "method": pair.method,
                "other": pair.other,
                "facts": len(both),
                "back": float(one[both].mean()),
                "other_back": float(other[both].mean()),
                "difference": float(gaps.mean()),
                "low": float(low),
                "high": float(high),
                "p": _p(gaps),
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    table["q"] = false_discovery_control(list(table["p"]))
    table["reading"] = [_reading(row) for row in table.to_dict("records")]
    return table


def fact_shares(runs: Sequence[pd.DataFrame]) -> pd.Series:
    """How often each fact of the rest is back at an attack's best look, over runs and draws.

    The best look of a draw is the one, over learning rates and steps, at which most of the rest is
    answered. Its maximum is biased upwards alike for all methods.

    Args:
        runs: The attack's table for each run of one method.
    """
    asked: dict[str, list[bool]] = {}
    for table in runs:
        rest = table.loc[table["split"] == REST]
        for _, draw in rest.groupby(["seed", "fold", "variant"], dropna=False):
            best = draw.iloc[int((draw["correct"] / draw["n"]).to_numpy().argmax())]
            known = set(best["answered"])
            for fact in best["facts"]:
                asked.setdefault(fact, []).append(fact in known)
    return pd.Series({fact: float(np.mean(known)) for fact, known in asked.items()}, dtype=float)


def _p(gaps: Float[np.ndarray, " fact"]) -> float:
    if not gaps.any():
        return 1.0
    found = permutation_test(
        (gaps, np.zeros_like(gaps)),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def _reading(row: dict[str, float]) -> str:
    said = (
        f"{row['back']:.0%} of {row['facts']} facts come back after {row['method']}, "
        f"{row['other_back']:.0%} after {row['other']}: "
    )
    if row["q"] > BEYOND_CHANCE:
        return said + f"the difference may be chance (q = {row['q']:.2g})."
    fewer = "fewer" if row["difference"] < 0 else "more"
    return said + f"{fewer} than chance allows (q = {row['q']:.2g})."
