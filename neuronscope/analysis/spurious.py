"""Spurious unlearning neurons: neurons that learned to oppose the forgotten answers.

A neuron is spurious if its negative influence grew more on the forget set than on other facts of
the same relation (the null facts), by more than the largest excess that chance produces in any
neuron, and if D⁻ exceeds the drop divided by the number of neurons.

The growth per neuron and fact is δ = A_min(before) − A_min(after), with A_min the neuron's smallest
influence at any position. A neuron's excess growth is the slope of a regression of δ on the label
(1: to be forgotten, 0: null fact) with an intercept per relation; with a single relation, it is the
mean of δ over the forget set minus its mean over the null facts.

The null hypothesis is that the change of the weights treats all facts of a relation alike. Labels
are then exchangeable within a relation. They are permuted there, for all neurons at once, which
preserves the dependence between neurons. The adjusted p-value of a neuron is the share of
permutations in which the largest excess growth of any neuron is at least its own (Westfall and
Young, Resampling-Based Multiple Testing, 1993, single step). Excess growth is in the target's unit
and not divided by its standard error: a few neurons that hide facts change the influence of
thousands of others slightly but significantly. The test names the strongest neurons, not all: one
that is weak compared with the strongest, or that opposes only a few of the facts, is not found.

Facts of other relations cannot serve as null facts: facts of one relation react alike to any change
of the weights, so even random changes make relations differ.
"""

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from neuronscope.analysis.influence_variation import BLOCK, changes_by_fact
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording

FAMILY_WISE_ERROR = 0.05
"""Maximum probability that any neuron is called spurious although its null hypothesis is true (the
family-wise error rate)."""

PERMUTATIONS = 999
"""Number of permutations: with 999, a p-value of 0.05 has a standard error of 0.007."""

SHARED = 0.5
"""A warning is added if the mean score of the null facts fell by more than this share of the drop:
they were then
largely forgotten as well, and the test can find little."""


@dataclass(frozen=True)
class SpuriousTest:
    """The test of every recorded neuron, in the order of `influence_variation`."""

    p: Float[np.ndarray, " neuron"]
    """One-sided permutation p-value of the neuron alone; NaN without a test."""

    q: Float[np.ndarray, " neuron"]
    """p-value adjusted for all recorded neurons; NaN without a test."""

    spurious: Bool[np.ndarray, " neuron"]
    """Whether q is at most `FAMILY_WISE_ERROR` and D⁻ exceeds the drop per neuron."""

    warnings: tuple[str, ...]
    """Limitations of the test, or the reason why there is none."""


def find_spurious(
    comparison: Comparison, d_minus: Float[np.ndarray, " neuron"], drop: float
) -> SpuriousTest:
    """Test which neurons are spurious.

    There is no test without null facts, or if only means were recorded. Facts whose relation does
    not occur both in the forget set and outside of it are left out.

    Args:
        comparison: The two recordings.
        d_minus: Each neuron's D⁻.
        drop: Mean decrease of the score. Without a decrease nothing was forgotten, so no neuron is
            spurious.
    """
    recording = comparison.before
    forget, matched = recording.in_split("forget"), in_shared_relations(recording)
    if not recording.per_fact or not matched.any():
        nothing = np.full(len(d_minus), np.nan)
        untested = recording.per_fact and not forget.all()
        why = (_no_null_facts(recording),) if untested else ()
        return SpuriousTest(nothing, nothing, np.zeros(len(d_minus), dtype=bool), why)
    growth = np.hstack([gained for _, gained in changes_by_fact(comparison, matched)])
    relations = np.array(recording.relations, dtype=object)[matched]
    p, q = permutation_test(growth, forget[matched], relations)
    spurious = (q <= FAMILY_WISE_ERROR) & (d_minus > drop / len(d_minus)) & (drop > 0)
    return SpuriousTest(p, q, spurious, _limits(comparison, matched, drop))


def in_shared_relations(recording: Recording) -> Bool[np.ndarray, " fact"]:
    """Which facts have a relation that occurs both in the forget set and outside of it."""
    forget = recording.in_split("forget")
    if not recording.relations:
        return np.zeros_like(forget)
    sides = set(zip(recording.relations, forget.tolist(), strict=True))
    shared = {name for name, _ in sides if {(name, True), (name, False)} <= sides} - {None}
    return np.array([name in shared for name in recording.relations])


def permutation_test(
    growth: Float[np.ndarray, "fact neuron"],
    forget: Bool[np.ndarray, " fact"],
    relations: Shaped[np.ndarray, " fact"],
) -> tuple[Float[np.ndarray, " neuron"], Float[np.ndarray, " neuron"]]:
    """p-values of each neuron's excess growth: on its own, and adjusted for all neurons.

    The permutations have a fixed seed and include the actual labels, so that no p-value is zero.

    Args:
        growth: The growth δ.
        forget: Which facts are to be forgotten: in each relation at least one, and not all.
        relations: The relation of each fact.
    """
    contrasts = _contrasts(forget, relations)
    actual, p = contrasts[0] @ growth, np.empty(growth.shape[1])
    # A permutation that reproduces the actual labels gives the actual excess only up to rounding,
    # and must count as reaching it.
    reached = actual - 1e-9 * np.abs(actual).max()
    largest = np.full(len(contrasts), -np.inf)
    for start in range(0, len(p), BLOCK):
        block = slice(start, start + BLOCK)
        excess = contrasts @ growth[:, block]
        p[block] = (excess >= reached[block]).mean(axis=0)
        largest = np.maximum(largest, excess.max(axis=1))
    return p, 1 - np.searchsorted(np.sort(largest), reached) / len(largest)


def _contrasts(
    forget: Bool[np.ndarray, " fact"], relations: Shaped[np.ndarray, " fact"]
) -> Float[np.ndarray, "labelling fact"]:
    """The weight of each fact's growth in the excess growth, for actual and for permuted labels.

    The first row has the actual labels, the others a permutation of them within each relation.
    """
    rng = np.random.default_rng(0)
    labels = np.tile(forget.astype(np.float64), (1 + PERMUTATIONS, 1))
    for name in dict.fromkeys(relations):
        own = np.flatnonzero(relations == name)
        labels[1:, own] = rng.permuted(labels[1:, own], axis=1)
        labels[:, own] -= labels[0, own].mean()
    return labels / (labels[0] ** 2).sum()


def _no_null_facts(recording: Recording) -> str:
    forgotten = {
        name
        for name, split in zip(recording.relations, recording.splits, strict=False)
        if split == "forget" and name is not None
    }
    asked = ", ".join(sorted(forgotten)) or "give the facts a `relation`"
    return (
        "Neurons were not tested for being spurious, because no fact outside the forget set shares "
        "a relation with a fact in it. Facts of different relations react differently to any "
        "change of the weights, so that a test against them finds neurons where nothing was "
        f"forgotten. Record retained or test facts of the same relation ({asked})."
    )


def _limits(
    comparison: Comparison, matched: Bool[np.ndarray, " fact"], drop: float
) -> tuple[str, ...]:
    recording = comparison.before
    forget = recording.in_split("forget")
    null = matched & ~forget
    limits = []
    smallest = _smallest_p(recording, matched)
    if smallest > FAMILY_WISE_ERROR:
        limits.append(
            f"With {(matched & forget).sum()} facts to be forgotten and {null.sum()} others of the "
            f"same relation, no p-value can be below {smallest:.2g}, so no neuron can be found "
            "spurious. Record more facts of that relation."
        )
    if (forget & ~matched).any():
        limits.append(
            f"{(forget & ~matched).sum()} of {forget.sum()} facts to be forgotten took no part in "
            "the test for spurious neurons, because no other fact of their relation was recorded."
        )
    fall = float((recording.score[null] - comparison.after.score[null]).mean())
    if drop > 0 and fall > SHARED * drop:
        limits.append(
            f"The scores of other facts of the same relation fell by {fall:.2g} "
            f"{recording.provenance.unit} on average, {100 * fall / drop:.0f} % of the forget "
            "set's drop. The test does not find neurons that oppose the whole relation."
        )
    return tuple(limits)


def _smallest_p(recording: Recording, matched: Bool[np.ndarray, " fact"]) -> float:
    """The smallest possible p-value: 1 / the number of different permutations of the labels."""
    kept = [
        (name, split == "forget")
        for name, split, used in zip(recording.relations, recording.splits, matched, strict=True)
        if used
    ]
    facts, forgotten = Counter(name for name, _ in kept), Counter(n for n, lost in kept if lost)
    return 1 / math.prod(math.comb(count, forgotten[name]) for name, count in facts.items())
