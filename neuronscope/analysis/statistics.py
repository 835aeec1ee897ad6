"""Intervals of rates, means and other statistics of facts, paired tests, and correlations.

Facts are the sampling unit, so the bootstrap resamples facts. Its intervals are too narrow for few
facts; they are widened to the level at which a normal interval becomes Student's t interval
("expanded percentiles": Hesterberg 2015, "What teachers should know about the bootstrap", The
American Statistician 69).
"""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

CONFIDENCE = 0.95

RESAMPLES = 2000

SEED = 0
"""Fixed, so that the same recordings give the same intervals."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson interval of a rate; 0 to 1 without trials."""
    if trials == 0:
        return 0.0, 1.0
    interval = stats.binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(first: Bool[np.ndarray, " fact"], second: Bool[np.ndarray, " fact"]) -> float:
    """Exact two-sided p-value of McNemar's test that two models answer equally often.

    Only facts that exactly one model answers count; under the null hypothesis either model is
    equally likely. 1 without such facts.
    """
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)


def mean_interval(
    values: Float[np.ndarray, "fact ..."],
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """95 % bootstrap interval of the mean over facts: expanded percentiles.

    NaN with fewer than two facts.
    """
    if len(values) < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    interval = stats.bootstrap(
        (values.astype(np.float64),),
        np.mean,
        axis=0,
        method="percentile",
        batch=50,  # resamples in memory: the table of a large model has a thousand columns
        n_resamples=RESAMPLES,
        confidence_level=expanded_confidence(len(values)),
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return np.asarray(interval.low), np.asarray(interval.high)


def reflected_interval(
    statistic: Callable[[Float[np.ndarray, "batch fact"]], Float[np.ndarray, " batch"]],
    n_facts: int,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % bootstrap interval of a biased statistic of facts: the basic interval, expanded.

    The basic interval reflects the resampled values at the estimate (2 · estimate − quantile), so
    that a bias that recurs in every resample is subtracted instead of counted twice.

    Args:
        statistic: Computes the statistic from the facts' weights (a batch, each row with sum 1).
        n_facts: Number of facts. The interval is NaN with fewer than two facts, or if the statistic
            is undefined for some resamples.
        resamples: Number of resamples.
    """
    if n_facts < 2:
        return np.nan, np.nan

    def of_resamples(facts: np.ndarray, axis: int) -> np.ndarray:
        del axis  # the last
        batch = facts.reshape(-1, n_facts).astype(int)
        weights = np.zeros((len(batch), n_facts))
        np.add.at(weights, (np.arange(len(batch))[:, None], batch), 1 / n_facts)
        return statistic(weights).reshape(facts.shape[:-1])

    with warnings.catch_warnings():
        # Without a value for every resample, the interval is NaN.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (np.arange(n_facts),),
            of_resamples,
            vectorized=True,
            method="basic",
            n_resamples=resamples,
            confidence_level=expanded_confidence(n_facts),
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    return float(interval.low), float(interval.high)


def expanded_confidence(n: int) -> float:
    """The confidence level at which a bootstrap over n facts is as wide as Student's t interval.

    Solves Φ⁻¹((1 + level) / 2) = √(n / (n − 1)) · t with t the quantile of n − 1 degrees of
    freedom at `CONFIDENCE`.
    """
    quantile = np.sqrt(n / (n - 1)) * stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    return float(1 - 2 * stats.norm.sf(quantile))


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's adjusted p-values, which control the family-wise error rate.

    Tests without a p-value (NaN) do not belong to the family and remain NaN.
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]
    steps = np.arange(len(order), 0, -1) * p[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def pearson(x: Float[np.ndarray, " neuron"], y: Float[np.ndarray, " neuron"]) -> float:
    """Linear correlation; NaN if one side is constant or there are fewer than two neurons."""
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan
    return float(np.corrcoef(x, y)[0, 1])


def spearman(x: Float[np.ndarray, " neuron"], y: Float[np.ndarray, " neuron"]) -> float:
    """Rank correlation with mean ranks for ties; NaN as for `pearson`."""
    return pearson(stats.rankdata(x), stats.rankdata(y))
