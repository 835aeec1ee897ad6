"""Whether one method's facts come back less than another's, or are kept more: paired by fact.

A fact is the unit: the two methods are asked the same facts, after the same attack, and what
several seeds make of one fact is averaged before anything is compared. Seeds do not multiply facts.
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
"""Signs are all tried up to 16 facts, and drawn beyond."""


@dataclass(frozen=True)
class Pair:
    """A method, and one that it is held against."""

    method: str
    other: str


def comparisons(
    tables: Mapping[str, Sequence[pd.DataFrame]], attack: str, pairs: Sequence[Pair]
) -> pd.DataFrame:
    """What comes back of each fact under one attack, method beside method.

    Args:
        tables: By method, the attack's table for each run of it.
        attack: What the attack is called.

    Returns:
        One row per pair and variant of the attack, but for what it does at random: `attack`,
        `variant`, `method`, `other`, `facts`, the mean shares `share` and `other_share`, their
        `difference` (method - other) with its 95 % bootstrap interval over facts `low`, `high`,
        the two-sided `p` of a permutation of signs over facts (of this pair alone), and `reading`.
    """
    rows = []
    for variant in _variants(tables):
        shares = {method: fact_shares(runs, variant) for method, runs in tables.items()}
        for pair in pairs:
            found = _compared(shares[pair.method], shares[pair.other])
            rows.append(
                {"attack": attack, "variant": variant, "method": pair.method, "other": pair.other}
                | found
                | {"reading": _reading(found, pair, "come back", "after")}
            )
    return pd.DataFrame(rows)


def retention(answers: Mapping[str, Sequence[pd.DataFrame]], pairs: Sequence[Pair]) -> pd.DataFrame:
    """What is kept of each stratum of facts, method beside method.

    Args:
        answers: By method, the answers of each run of it, as of `strata.answers`.

    Returns:
        One row per pair and stratum and use of the facts to be kept: `stratum`, `use`, `method`,
        `other`, and from `facts` on the columns of `comparisons`.
    """
    shares = {method: _kept(pd.concat(runs)) for method, runs in answers.items()}
    rows = []
    for pair in pairs:
        for (stratum, use), own in shares[pair.method].items():
            found = _compared(own, shares[pair.other][stratum, use])
            rows.append(
                {"stratum": stratum, "use": use, "method": pair.method, "other": pair.other}
                | found
                | {"reading": _reading(found, pair, "are kept", "by")}
            )
    return pd.DataFrame(rows)


def _kept(answers: pd.DataFrame) -> dict[tuple[str, str], pd.Series]:
    """How often each fact to be kept is answered, over runs, by stratum and use."""
    kept = answers.loc[answers["use"] != FORGOTTEN]
    return {
        (str(here["stratum"].iloc[0]), str(here["use"].iloc[0])): here.groupby("fact")[
            "answered"
        ].mean()
        for _, here in kept.groupby(["stratum", "use"], sort=False)
    }


def fact_shares(runs: Sequence[pd.DataFrame], variant: str = "") -> pd.Series:
    """How often each fact of the rest is back at an attack's best look, over runs and draws.

    The best look of a draw is the one, over learning rates and steps, at which most of the rest is
    answered, of all folds together. Its maximum is biased upwards alike for all methods.

    Args:
        runs: The attack's table for each run of one method.
        variant: Which of the attack's variants counts.
    """
    asked: dict[str, list[bool]] = {}
    for table in runs:
        rest = table.loc[(table["split"] == REST) & (table["variant"] == variant)]
        for _, draw in rest.groupby("seed"):
            best = _best_look(draw)
            known = {fact for answered in best["answered"] for fact in answered}
            for fact in (fact for facts in best["facts"] for fact in facts):
                asked.setdefault(fact, []).append(fact in known)
    return pd.Series({fact: float(np.mean(known)) for fact, known in asked.items()}, dtype=float)


def _variants(tables: Mapping[str, Sequence[pd.DataFrame]]) -> list[str]:
    """Those that an attack chose, in the order in which they come."""
    every = (str(name) for runs in tables.values() for run in runs for name in run["variant"])
    return [name for name in dict.fromkeys(every) if name != RANDOM]


def _best_look(draw: pd.DataFrame) -> pd.DataFrame:
    """The rows, one a fold, of the look at which most is answered; the first of several."""
    looks = [look for _, look in draw.groupby(["step", "lr"], dropna=False)]
    # A fold that ended early would make the later looks those of other facts.
    most = max(len(look) for look in looks)
    whole = [look for look in looks if len(look) == most]
    return max(whole, key=lambda look: look["correct"].sum() / look["n"].sum())


def _compared(one: pd.Series, other: pd.Series) -> dict[str, int | float]:
    """Two methods' shares of the same facts: their means, and their difference with its test."""
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


def _reading(found: Mapping[str, int | float], pair: Pair, what: str, word: str) -> str:
    return (
        f"{found['share']:.0%} of {found['facts']} facts {what} {word} {pair.method}, "
        f"{found['other_share']:.0%} {word} {pair.other}."
    )


def _p(gaps: Float[np.ndarray, " fact"]) -> float:
    # The sign of a single fact is one way or the other: never beyond chance.
    if len(gaps) < 2 or not gaps.any():
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
