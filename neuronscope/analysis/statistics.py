"""Intervals of rates, means and other statistics of facts, paired tests, and correlations.

Facts are the sampling unit, so the bootstrap resamples facts. Its intervals are too narrow for few
facts; they are widened to the level at which a normal interval becomes Student's t interval
("expanded percentiles": Hesterberg 2015, "What teachers should know about the bootstrap", The
American Statistician 69). Below 8 facts, they are still too narrow: resamples of few facts cannot
reach far enough.
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

    Only facts that exactly one model answers count; under the null hypothesis, either model is
    equally likely to be that one. 1 without such facts.
    """
    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    if gained + lost == 0:
        return 1.0
    return float(stats.binomtest(gained, gained + lost).pvalue)


def mean_interval(
    values: Float[np.ndarray, "fact ..."], within: tuple[float, float] = (-np.inf, np.inf)
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """95 % interval of the mean over facts: Student's t, extended for skewness on the long side.

    The end on the side of the long tail is moved by Johnson's correction (1978, "Modified t tests
    and confidence intervals for asymmetrical populations", Journal of the American Statistical
    Association 73), which uses the third moment; the other end is that of Student's t.

    In simulations with 2 to 32 facts, it covers the mean of normal values in 95 to 96 % of samples,
    that of lognormal values (σ = 1) in 86 to 92 %. It covers less if the mean depends on
    rare values that the sample may not contain; for yes-or-no values, use `wilson_interval`. If all
    values are equal, the interval has zero width. NaN with fewer than two facts.

    Args:
        values: One row per fact.
        within: The range of possible values; the interval is clipped to it.
    """
    n = len(values)
    if n < 2:
        nothing = np.full(values.shape[1:], np.nan)
        return nothing, nothing
    values = values.astype(np.float64)
    mean, variance = values.mean(axis=0), values.var(axis=0, ddof=1)
    t = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    half = t * np.sqrt(variance / n)
    third = ((values - mean) ** 3).mean(axis=0) * (1 + 2 * t**2) / (6 * n)
    moved = np.divide(third, variance, out=np.zeros_like(third), where=variance > 0)
    low, high = mean - half + np.minimum(moved, 0), mean + half + np.maximum(moved, 0)
    return np.asarray(np.maximum(low, within[0])), np.asarray(np.minimum(high, within[1]))


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
