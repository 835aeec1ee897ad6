"""Spurious unlearning neurons: neurons that learned to oppose the forgotten answers.

A neuron is spurious if its negative influence grew more on the forget set than on the other facts
(the null facts), and if the increase exceeds an equal share of the drop. By significance alone,
every neuron that changes at all would be spurious.

The growth per neuron and fact is δ = A_min(before) − A_min(after), with A_min the neuron's smallest
influence at any position. A one-sided Mann–Whitney U test determines whether δ is larger on the
forget set than on the null facts; Benjamini and Hochberg's step-up procedure over all recorded
neurons turns the p-values into q.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from neuronscope.analysis.influence_variation import changes_by_fact
from neuronscope.results.comparison import Comparison

FALSE_DISCOVERIES = 0.05
"""Maximum expected share of false discoveries among the spurious neurons."""

EXACT_PAIRS = 10_000
"""Number of pairs (forget fact, null fact) up to which the exact distribution of U is used; beyond
this it takes minutes, and the normal approximation is equally good."""


@dataclass(frozen=True)
class SpuriousTest:
    """The test of every recorded neuron, in the order of `influence_variation`."""

    p: Float[np.ndarray, " neuron"]
    """One-sided p-value; NaN without a test."""

    q: Float[np.ndarray, " neuron"]
    """Smallest false discovery rate at which the neuron is significant."""

    spurious: Bool[np.ndarray, " neuron"]
    """Whether q is at most `FALSE_DISCOVERIES` and D⁻ exceeds an equal share of the drop."""

    warnings: tuple[str, ...]
    """Limitations of the test."""


def find_spurious(
    comparison: Comparison, d_minus: Float[np.ndarray, " neuron"], drop: float
) -> SpuriousTest:
    """Test which neurons are spurious; none without null facts, or if only means were recorded.

    Args:
        comparison: The two recordings.
        d_minus: Each neuron's D⁻.
        drop: Mean decrease of the score. Without a decrease nothing was forgotten, so no neuron is
            spurious.
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
    forget: Float[np.ndarray, "fact neuron"], null: Float[np.ndarray, "null neuron"]
) -> Float[np.ndarray, " neuron"]:
    """One-sided Mann–Whitney p-value per neuron for larger growth on the forget set.

    Exact without ties; with ties, or beyond `EXACT_PAIRS`, the normal approximation with continuity
    correction, but never below the smallest p-value of the exact test.
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
    """Smallest p-value of the exact test: every forget fact ranks above every null fact."""
    return 1 / math.comb(forget + null, forget)


def _limits(forget: int, null: int, neurons: int) -> tuple[str, ...]:
    smallest = smallest_p(forget, null)
    if smallest * neurons <= FALSE_DISCOVERIES:
        return ()
    fewest = math.ceil(smallest * neurons / FALSE_DISCOVERIES)
    found = f"only {fewest:,} or more at once" if fewest <= neurons else "none"
    return (
        f"With {forget} facts to be forgotten and {null} others, no p-value can be below "
        f"{smallest:.2g}: of {neurons:,} neurons, {found} can be significant. Record more facts.",
    )
