"""Planted spurious neurons are found, and false discoveries are rare."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from synthetic_recordings import make_recording, reduce

from neuronscope.analysis.influence_variation import influence_variation
from neuronscope.analysis.spurious import find_spurious, growth_p_values, smallest_p
from neuronscope.results.comparison import Comparison


def by_enumeration(forget, null):
    """Share of all ways to draw the forgotten facts whose rank sum is at least the observed one."""
    ranks = stats.rankdata(np.concatenate([forget, null]))
    drawn = itertools.combinations(ranks, len(forget))
    sums = np.array([sum(combination) for combination in drawn])
    return np.mean(sums >= ranks[: len(forget)].sum() - 1e-9)


@pytest.mark.parametrize(("n", "m"), [(3, 4), (5, 3), (1, 6)])
def test_without_ties_p_is_the_share_of_all_permutations(n, m):
    rng = np.random.default_rng(n)
    forget, null = rng.normal(0.5, 1, (n, 8)), rng.normal(size=(m, 8))
    expected = [by_enumeration(f, o) for f, o in zip(forget.T, null.T, strict=True)]
    np.testing.assert_allclose(growth_p_values(forget, null), expected)


def test_the_smallest_p_is_that_of_complete_separation():
    forget, null = np.arange(5.0)[:, None] + 10, np.arange(4.0)[:, None]
    assert growth_p_values(forget, null).item() == pytest.approx(1 / math.comb(9, 5))
    assert smallest_p(5, 4) == 1 / math.comb(9, 5)


def test_ties_never_make_p_smaller_than_an_exact_test_could():
    forget, null = np.ones((5, 1)), np.zeros((5, 1))
    normal_limit = stats.mannwhitneyu(forget, null, alternative="greater", method="asymptotic")
    assert normal_limit.pvalue < smallest_p(5, 5) == growth_p_values(forget, null).item()


def test_unchanged_neurons_have_p_one():
    rng = np.random.default_rng(0)
    moving = rng.normal(size=(4, 1)), rng.normal(size=(6, 1))
    forget = np.hstack([moving[0], np.zeros((4, 1))])
    null = np.hstack([moving[1], np.zeros((6, 1))])
    p = growth_p_values(forget, null)
    assert p[1] == 1 and p[0] == growth_p_values(*moving).item()


def test_many_facts_use_the_normal_approximation():
    rng = np.random.default_rng(0)
    forget, null = rng.normal(size=(101, 50)), rng.normal(size=(100, 50))

    def limit(x, y):
        return stats.mannwhitneyu(x, y, alternative="greater", method="asymptotic").pvalue

    within = growth_p_values(forget[:-1], null)  # 10,000 pairs: exact
    assert (within != limit(forget[:-1], null)).all()
    np.testing.assert_allclose(within, limit(forget[:-1], null), atol=1e-3)
    np.testing.assert_array_equal(growth_p_values(forget, null), limit(forget, null))


def pair(growth, loss, forgotten):
    """Neurons whose negative influence grows and whose positive falls, by [fact, neuron]."""
    base = np.random.default_rng(9).normal(size=growth.shape)
    before = np.stack([base + 9, base - 9], axis=1)[:, :, None]
    change = np.stack([loss, growth], axis=1)[:, :, None]
    splits = ["forget"] * forgotten + ["retain"] * (len(growth) - forgotten)
    return Comparison(make_recording(before, splits), make_recording(before - change, splits))


def found(comparison, drop=None):
    scores = comparison.before.score - comparison.after.score
    drop = float(scores[comparison.before.in_split("forget")].mean()) if drop is None else drop
    d_minus = influence_variation(comparison)["d_minus"].to_numpy()
    return d_minus, find_spurious(comparison, d_minus, drop)


def planted(seed=0, forgotten=10, null=12, neurons=40):
    """Noise in all neurons; 7 gains negative influence on forgotten facts, 3 loses positive one,
    and 5 gains negative influence on every fact."""
    rng = np.random.default_rng(seed)
    growth, loss = rng.normal(size=(2, forgotten + null, neurons)) * 0.1
    growth[:forgotten, 7] += 3
    loss[:forgotten, 3] += 3
    growth[:, 5] += 2
    return pair(growth, loss, forgotten)


def test_a_planted_spurious_neuron_is_first_and_alone():
    d_minus, test = found(planted())
    assert d_minus.argmax() == 7
    assert np.flatnonzero(test.spurious).tolist() == [7]
    assert test.q[7] == test.q.min() < 0.001 and test.warnings == ()


def test_an_erased_neuron_and_one_that_changed_for_all_facts_are_not_spurious():
    table = influence_variation(planted())
    assert table["d_plus"].to_numpy().argmax() == 3
    d_minus, test = found(planted())
    assert d_minus[5] > 1.9 and test.q[5] > 0.05 and test.q[3] > 0.05


def test_significance_alone_is_not_enough():
    # The drop is 3 + 2 + 3 and a little: an equal share of 40 neurons is about 0.2.
    comparison = planted()
    _, test = found(comparison)
    assert test.spurious[7]
    _, greater_drop = found(comparison, drop=40 * 4.0)
    assert greater_drop.q[7] < 0.001 and not greater_drop.spurious.any()
    _, no_drop = found(comparison, drop=-1.0)
    assert no_drop.q[7] < 0.001 and not no_drop.spurious.any()


def test_nothing_is_spurious_in_a_recording_compared_with_itself():
    recording = planted().before
    d_minus, test = found(Comparison(recording, recording))
    assert not d_minus.any() and not test.spurious.any() and (test.p == 1).all()


def test_without_null_facts_or_with_means_only_nothing_is_tested():
    comparison = planted()
    reduced = pair(np.ones((4, 3)), np.zeros((4, 3)), forgotten=4)
    for untested in (reduced, Comparison(reduce(reduced.before), reduce(reduced.after))):
        _, test = found(untested)
        assert np.isnan(test.p).all() and np.isnan(test.q).all() and not test.spurious.any()
    assert not np.isnan(found(comparison)[1].p).any()


def test_false_discoveries_are_as_rare_as_promised():
    # Where nothing is planted every discovery is false: at most 5 % of the trials may hold one.
    trials, with_discovery, p_values = 150, 0, []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        growth, loss = rng.normal(size=(2, 14, 30))
        _, test = found(pair(growth, loss, forgotten=6), drop=0.0)
        with_discovery += (test.q <= 0.05).any()
        p_values.append(test.p)
        assert (test.q >= test.p).all()
    assert with_discovery <= 0.05 * trials + 3 * np.sqrt(trials * 0.05 * 0.95)
    p = np.concatenate(p_values)
    for level in (0.05, 0.2, 0.5, 0.8):  # the exact test has steps of up to 0.04
        assert level - 0.05 < np.mean(p <= level) < level + 0.015


def test_too_few_facts_for_significance_cause_a_warning():
    _, test = found(planted(forgotten=2, null=3))
    (warning,) = test.warnings
    assert "no p-value can be below 0.1" in warning and "Record more facts" in warning
    assert not test.spurious.any()
