"""Planted spurious neurons are found, and false discoveries are rare whatever neurons share."""

import itertools

import numpy as np
import pytest
from synthetic_recordings import make_recording, reduce

from neuronscope.analysis.influence_variation import influence_variation
from neuronscope.analysis.spurious import find_spurious, permutation_test
from neuronscope.results.comparison import Comparison


def labelled(forgotten, null):
    """The labels of facts of a single relation."""
    return np.arange(forgotten + null) < forgotten, np.array(["r"] * (forgotten + null))


def by_enumeration(growth, forgotten):
    """p-values, own and adjusted, from all ways to draw the facts to be forgotten."""
    facts = range(len(growth))
    drawn = [list(chosen) for chosen in itertools.combinations(facts, forgotten)]
    rest = [[fact for fact in facts if fact not in chosen] for chosen in drawn]
    excess = np.array(
        [growth[a].mean(axis=0) - growth[b].mean(axis=0) for a, b in zip(drawn, rest, strict=True)]
    )
    reached = excess[0] - 1e-12
    largest = excess.max(axis=1)[:, None]
    return (excess >= reached).mean(axis=0), (largest >= reached).mean(axis=0)


@pytest.mark.parametrize(("n", "m"), [(3, 4), (5, 3), (1, 6)])
def test_p_values_are_shares_of_all_permutations(n, m):
    growth = np.random.default_rng(n).normal(size=(n + m, 8))
    found = permutation_test(growth, *labelled(n, m))
    for values, exact in zip(found, by_enumeration(growth, n), strict=True):
        # 999 permutations: four standard errors.
        np.testing.assert_allclose(values, exact, atol=4 * np.sqrt(0.25 / 999))


def test_an_adjusted_p_value_is_never_below_that_of_the_neuron_alone():
    growth = np.random.default_rng(0).normal(size=(12, 50))
    p, q = permutation_test(growth, *labelled(5, 7))
    assert (q >= p).all() and (p > 0).all() and q.max() <= 1
    alone = permutation_test(growth[:, :1], *labelled(5, 7))
    assert alone[0] == alone[1] == p[0]


def test_what_all_facts_of_a_relation_share_has_no_effect():
    rng = np.random.default_rng(1)
    relations = np.array(["a"] * 8 + ["b"] * 6)
    forget = np.array([True] * 5 + [False] * 3 + [True] * 2 + [False] * 4)
    growth = rng.normal(size=(14, 30))
    shift = np.where(relations[:, None] == "a", *rng.normal(size=(2, 30)) * 20)
    alike = [permutation_test(g, forget, relations) for g in (growth, growth + shift)]
    np.testing.assert_allclose(alike[0], alike[1])
    # If relations are ignored, the neurons with the largest shift seem spurious.
    _, mixed = permutation_test(growth + 5 * shift, forget, np.array(["r"] * 14))
    assert abs(mixed - alike[0][1]).max() > 0.1


def test_neurons_of_similar_strength_are_found_and_much_weaker_ones_are_not():
    growth = np.random.default_rng(2).normal(size=(24, 60)) * 0.1
    growth[:12, [3, 7]] += 3, 2
    growth[:12, 20:30] += 0.2
    _, q = permutation_test(growth, *labelled(12, 12))
    assert np.flatnonzero(q <= 0.05).tolist() == [3, 7]


def pair(growth, loss, forgotten, relations=None):
    """Neurons whose negative influence grows and whose positive falls, by [fact, neuron]."""
    base = np.random.default_rng(9).normal(size=growth.shape)
    before = np.stack([base + 9, base - 9], axis=1)[:, :, None]
    change = np.stack([loss, growth], axis=1)[:, :, None]
    splits = ["forget"] * forgotten + ["retain"] * (len(growth) - forgotten)
    return Comparison(
        *(make_recording(x, splits, relations=relations) for x in (before, before - change))
    )


def found(comparison, drop=None):
    scores = comparison.before.score - comparison.after.score
    drop = float(scores[comparison.before.in_split("forget")].mean()) if drop is None else drop
    d_minus = influence_variation(comparison)["d_minus"].to_numpy()
    return d_minus, find_spurious(comparison, d_minus, drop)


def planted(seed=0, forgotten=10, null=12, neurons=40, relations=None):
    """Noise in all neurons; 7 gains negative influence on forgotten facts, 3 loses positive one,
    and 5 gains negative influence on every fact."""
    rng = np.random.default_rng(seed)
    growth, loss = rng.normal(size=(2, forgotten + null, neurons)) * 0.1
    growth[:forgotten, 7] += 3
    loss[:forgotten, 3] += 3
    growth[:, 5] += 2
    return pair(growth, loss, forgotten, relations)


def test_a_planted_spurious_neuron_is_first_and_alone():
    d_minus, test = found(planted())
    assert d_minus.argmax() == 7
    assert np.flatnonzero(test.spurious).tolist() == [7]
    assert test.q[7] == test.q.min() < 0.01 and test.warnings == ()


def test_an_erased_neuron_and_one_that_changed_for_all_facts_are_not_spurious():
    table = influence_variation(planted())
    assert table["d_plus"].to_numpy().argmax() == 3
    d_minus, test = found(planted())
    assert d_minus[5] > 1.9 and test.q[5] > 0.05 and test.q[3] > 0.05


def test_without_a_drop_or_without_growth_no_neuron_is_spurious():
    _, no_drop = found(planted(), drop=-1.0)
    assert no_drop.q[7] < 0.01 and not no_drop.spurious.any()
    # Less opposition to the null facts is not more opposition to the forgotten ones.
    growth, loss = np.zeros((20, 3)), np.zeros((20, 3))
    growth[10:, 1] -= 4
    _, relieved = found(pair(growth, loss, forgotten=10), drop=1.0)
    assert relieved.q[1] < 0.01 and not relieved.spurious.any()


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


@pytest.mark.parametrize(
    ("relations", "asked"),
    [
        (["capital"] * 10 + ["colour"] * 12, "of the same relation (capital)"),
        ([None] * 22, "`relation`"),
    ],
)
def test_facts_of_other_relations_are_refused_as_null_facts(relations, asked):
    _, test = found(planted(relations=relations))
    assert np.isnan(test.p).all() and not test.spurious.any()
    (why,) = test.warnings
    assert asked in why


def test_facts_whose_relation_is_on_one_side_only_are_left_out():
    comparison = planted(relations=["capital"] * 8 + ["colour"] * 2 + ["capital"] * 9 + ["pet"] * 3)
    _, test = found(comparison)
    (warning,) = test.warnings
    assert warning.startswith("2 of 10 facts")
    alone = np.r_[0:8, 10:19]
    growth = (
        comparison.before.sites["mlp.post"].negative - comparison.after.sites["mlp.post"].negative
    )
    expected = permutation_test(growth[alone, 0], *labelled(8, 9))
    np.testing.assert_array_equal((test.p, test.q), expected)


def test_false_discoveries_are_as_rare_as_promised():
    # Nothing is planted, but neurons share factors, facts differ in scale, and relations differ in
    # growth: at most 5 % of the trials may hold a discovery.
    trials, with_discovery, p_values = 200, 0, []
    relations = np.array(["a"] * 8 + ["b"] * 8)
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        factors = rng.normal(size=(16, 3)) @ rng.normal(size=(3, 40))
        noise = (factors + 0.3 * rng.standard_t(3, size=(16, 40))) * rng.gamma(1, size=(16, 1))
        growth = noise + np.where(relations[:, None] == "a", *rng.normal(size=(2, 40)) * 9)
        forget = np.zeros(16, dtype=bool)
        forget[np.r_[rng.permutation(8)[:4], 8 + rng.permutation(8)[:3]]] = True
        p, q = permutation_test(growth, forget, relations)
        with_discovery += (q <= 0.05).any()
        p_values.append(p)
    assert 0 < with_discovery <= 0.05 * trials + 3 * np.sqrt(trials * 0.05 * 0.95)
    p = np.concatenate(p_values)
    for level in (0.05, 0.2, 0.5, 0.8):
        assert abs(np.mean(p <= level) - level) < 0.03


def test_too_few_facts_for_significance_cause_a_warning():
    _, test = found(planted(forgotten=2, null=3))
    (warning,) = test.warnings
    assert "no p-value can be below 0.1" in warning and not test.spurious.any()


def test_null_facts_that_fell_with_the_forgotten_ones_cause_a_warning():
    growth, loss = np.zeros((20, 4)), np.random.default_rng(0).normal(size=(20, 4)) * 0.1
    growth[:, 2] += 3
    _, test = found(pair(growth, loss, forgotten=10))
    assert not test.spurious.any()
    (warning,) = test.warnings
    assert "whole relation" in warning
