"""Spurious unlearning neurons: those that learnt to push against the forgotten answers.

A neuron is called spurious if its negative influence grew more on the facts to be forgotten than on
the others (the null facts), and if what it gained is more than an equal share of the drop.
Significance alone would call every neuron spurious that moves at all.

Per neuron and fact the growth is δ = A_min(before) − A_min(after), with A_min its smallest
influence at any position. A one-sided Mann–Whitney U test asks whether δ is larger on the facts to
be forgotten than on the null facts; Benjamini and Hochberg's step-up procedure over all recorded
neurons turns its p-values into q.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from neuronscope.analysis.influence_variation import changes_by_fact
from neuronscope.results.comparison import Comparison

FALSE_DISCOVERIES = 0.05
"""Expected share of false ones among the neurons called spurious, at most."""

EXACT_PAIRS = 10_000
"""Pairs of facts (to be forgotten, null) up to which the exact distribution of U is used; beyond,
it takes minutes and its normal limit is as good."""


@dataclass(frozen=True)
class SpuriousTest:
    """The test of every recorded neuron, in the order of `influence_variation`."""

    p: Float[np.ndarray, " neuron"]
    """One-sided p-value; NaN where nothing could be tested."""

    q: Float[np.ndarray, " neuron"]
    """The smallest share of false discoveries at which the neuron would be found."""

    spurious: Bool[np.ndarray, " neuron"]
    """Whether q is at most `FALSE_DISCOVERIES` and D⁻ more than an equal share of the drop."""

    warnings: tuple[str, ...]
    """What limits the test."""


def find_spurious(
    comparison: Comparison, d_minus: Float[np.ndarray, " neuron"], drop: float
) -> SpuriousTest:
    """Which neurons are spurious; none where no null facts, or only means, were recorded.

    Args:
        comparison: The two recordings.
        d_minus: Each neuron's D⁻.
        drop: Mean fall of the score, shared equally over the neurons. Where there is none, nothing
            was forgotten, and no neuron hides it.
    """
    forget = comparison.before.in_split("forget")
    if forget.all() or not comparison.before.per_fact:
        nothing = np.full(len(d_minus), np.nan)
        return SpuriousTest(nothing, nothing, np.zeros(len(d_minus), dtype=bool), ())
    p = np.concatenate(
        [
            growth_p_values(gained[forget], gained[~forget])
            for _, gained in changes_by_fact(comparison, np.ones_like(forget))
        ]
    )
    q = stats.false_discovery_control(p, method="bh")
    spurious = (q <= FALSE_DISCOVERIES) & (drop > 0) & (d_minus > drop / len(d_minus))
    forgotten = int(forget.sum())
    return SpuriousTest(p, q, spurious, _limits(forgotten, len(forget) - forgotten, len(p)))


def growth_p_values(
    forget: Float[np.ndarray, "example neuron"], null: Float[np.ndarray, "batch neuron"]
) -> Float[np.ndarray, " neuron"]:
    """One-sided Mann–Whitney p-value per neuron: is the growth larger on the forgotten facts?

    Exact where no two facts tie; with ties (and beyond `EXACT_PAIRS`) the normal limit with
    continuity correction, but never below the smallest p-value an exact test could give.
    """
    ranked = np.sort(np.concatenate([forget, null]), axis=0)
    tied = (ranked[1:] == ranked[:-1]).any(axis=0)
    if len(forget) * len(null) > EXACT_PAIRS:
        tied = np.ones_like(tied)
    p = np.empty(forget.shape[1])
    for chosen, method in ((tied, "asymptotic"), (~tied, "exact")):
        if chosen.any():
            p[chosen] = stats.mannwhitneyu(
                forget[:, chosen], null[:, chosen], alternative="greater", axis=0, method=method
            ).pvalue
    return np.clip(p, smallest_p(len(forget), len(null)), 1)


def smallest_p(forget: int, null: int) -> float:
    """The smallest p-value the exact test can give: every forgotten fact above every null fact."""
    return 1 / math.comb(forget + null, forget)


def _limits(forget: int, null: int, neurons: int) -> tuple[str, ...]:
    smallest = smallest_p(forget, null)
    if smallest * neurons <= FALSE_DISCOVERIES:
        return ()
    fewest = math.ceil(smallest * neurons / FALSE_DISCOVERIES)
    found = f"only {fewest:,} or more together" if fewest <= neurons else "none"
    return (
        f"With {forget} forgotten and {null} other facts no p-value can be below {smallest:.2g}: "
        f"of {neurons:,} neurons {found} can be found spurious; record more facts.",
    )
