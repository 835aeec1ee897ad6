"""Paired comparisons of methods: recovery under the same attack, and retention of the same facts.

Both methods are evaluated on the same facts after the same attack. Their difference varies between
facts and between runs (seeds), and both count:

    variance = Var_facts(mean gap of a fact over runs) / facts
             + Var_runs(share of a run, method) / runs + Var_runs(share of a run, other) / runs

Student's t has the smaller of 2 (runs − 1) and facts − 1 degrees of freedom. The interaction
between facts and runs is counted twice, which is conservative.

In simulations without a true difference, p < 0.05 in at most 6 % of samples, except in one of 216
settings, where it is 7 % (2 runs, 40 facts, means of three answers). The settings combine 8 to 40
facts, 2 to 5 runs, three kinds of values per fact and run (Gaussian; 0 or 1, as for one answer;
means of three such answers), and variation between runs of up to twice that between facts. A test
over facts alone, after averaging the runs, finds differences in up to 88 %.

With a single run per method, the variation between runs is unknown: interval and p account for
variation between facts, but not between runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from neuronscope.analysis.statistics import CONFIDENCE, mean_interval
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
        `method`, `other`, `facts`, `runs` (per method; the smaller number), the mean shares
        `share` and `other_share`, their `difference` (method - other) with its 95 % interval over
        facts and runs `low`, `high`, the two-sided `p` (not corrected for other pairs), and
        `reading`. p is that of Student's t, but never below that of a sign-flip permutation test
        over facts. With one run, interval and p are over facts alone.
    """
    rows = []
    for variant in _variants(tables):
        shares = {
            method: _by_run([fact_shares(run, variant) for run in runs])
            for method, runs in tables.items()
        }
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
    shares = {method: _kept(runs) for method, runs in answers.items()}
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


def _kept(runs: Sequence[pd.DataFrame]) -> dict[tuple[str, str], pd.DataFrame]:
    """Whether each run answers each fact to retain, by stratum and use."""
    everything = pd.concat([run.assign(run=number) for number, run in enumerate(runs)])
    kept = everything.loc[everything["use"] != FORGOTTEN]
    return {
        (str(rows["stratum"].iloc[0]), str(rows["use"].iloc[0])): rows.pivot_table(
            "answered", "fact", "run", aggfunc="mean"
        )
        for _, rows in kept.groupby(["stratum", "use"], sort=False)
    }


def _by_run(shares: Sequence[pd.Series]) -> pd.DataFrame:
    """One row per fact, one column per run."""
    return pd.concat(shares, axis=1, keys=range(len(shares)))


def fact_shares(table: pd.DataFrame, variant: str = "") -> pd.Series:
    """The share of draws in which each held-out fact is answered after an attack on one run.

    A draw is one seed of the attack, represented by its best evaluation over learning rates and
    steps: the one with the most held-out facts answered, over all folds. This maximum is biased
    upwards, equally for all methods.

    Args:
        table: The attack's table for one run of a method.
        variant: The variant of the attack.
    """
    recovered: dict[str, list[bool]] = {}
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


def _compared(one: pd.DataFrame, other: pd.DataFrame) -> dict[str, int | float]:
    """The mean shares of two methods on the same facts, and the test of their difference."""
    both = one.index.intersection(other.index)
    one, other = one.loc[both], other.loc[both]
    gaps = (one.mean(axis=1) - other.mean(axis=1)).to_numpy(dtype=np.float64)
    runs = min(one.shape[1], other.shape[1])
    low, high = (float(end) for end in mean_interval(gaps, (-1.0, 1.0)))
    p = _sign_flip(gaps)
    if runs > 1 and len(both) > 1:
        between = [float(shares.mean().var() / shares.shape[1]) for shares in (one, other)]
        error = np.sqrt(gaps.var(ddof=1) / len(both) + sum(between))
        freedom = min(one.shape[1] + other.shape[1] - 2, len(both) - 1)
        t = stats.t(freedom, loc=gaps.mean(), scale=max(error, np.finfo(float).tiny))
        low, high = (float(end) for end in np.clip(t.interval(CONFIDENCE), -1, 1))
        p = max(p, float(2 * min(t.cdf(0), t.sf(0))))
    return {
        "facts": len(both),
        "runs": runs,
        "share": float(one.mean(axis=1).mean()),
        "other_share": float(other.mean(axis=1).mean()),
        "difference": float(gaps.mean()),
        "low": low,
        "high": high,
        "p": p,
    }


def _reading(result: Mapping[str, int | float], pair: Pair, verb: str, preposition: str) -> str:
    runs = "one run each" if result["runs"] == 1 else f"{result['runs']} runs each"
    return (
        f"{result['share']:.0%} of {result['facts']} facts {verb} {preposition} {pair.method}, "
        f"{result['other_share']:.0%} {preposition} {pair.other} ({runs})."
    )


def _sign_flip(gaps: Float[np.ndarray, " fact"]) -> float:
    """Two-sided p-value of a permutation test over facts."""
    # One fact can never be significant.
    if len(gaps) < 2 or not gaps.any():
        return 1.0
    test = stats.permutation_test(
        (gaps, np.zeros_like(gaps)),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(test.pvalue)
