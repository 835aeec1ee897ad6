"""Intervals have their nominal coverage; tests and correlations match closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from neuronscope.analysis.statistics import (
    expanded_confidence,
    mcnemar,
    mean_interval,
    pearson,
    reflected_interval,
    spearman,
    wilson_interval,
)


@given(st.integers(1, 500), st.data())
def test_wilson_is_its_closed_form(n, data):
    k = data.draw(st.integers(0, n))
    z, p = stats.norm.ppf(0.975), k / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert wilson_interval(k, n) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_without_trials_the_interval_of_a_rate_is_from_zero_to_one():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_mcnemar_counts_the_facts_that_only_one_model_answers():
    first = np.array([True] * 7 + [False] * 1 + [True] * 5 + [False] * 9)
    second = np.array([False] * 7 + [True] * 1 + [True] * 5 + [False] * 9)
    # 7 against 1: twice the chance of at most one head in eight throws.
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(first[:8], second[:8]) == mcnemar(first, second)
    assert mcnemar(first[8:], second[8:]) == mcnemar(first[:0], second[:0]) == 1.0
    assert mcnemar(np.array([True] * 5), np.array([False] * 5)) == pytest.approx(2 / 2**5)
    assert mcnemar(np.array([True, False]), np.array([False, True])) == 1.0


def test_expansion_vanishes_for_many_facts_and_grows_for_few():
    assert expanded_confidence(10**6) == pytest.approx(0.95, abs=1e-5)
    levels = [expanded_confidence(n) for n in (2, 3, 8, 16, 66)]
    assert levels == sorted(levels, reverse=True) and levels[2] > 0.98


def test_the_interval_of_a_mean_moves_and_stretches_with_the_facts():
    x = np.random.default_rng(0).normal(size=(9, 3))
    low, high = mean_interval(x)
    moved_low, moved_high = mean_interval(5 - 2 * x)
    np.testing.assert_allclose(moved_low, 5 - 2 * high)
    np.testing.assert_allclose(moved_high, 5 - 2 * low)


def coverage(values, mean):
    low, high = mean_interval(values)
    return np.mean((low <= mean) & (mean <= high))


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7, 8, 16, 32])
def test_the_interval_of_a_mean_covers_it_in_95_of_100_normal_samples(n):
    assert 0.94 < coverage(np.random.default_rng(n).normal(size=(n, 10_000)), 0) < 0.97


@pytest.mark.parametrize("n", [2, 4, 8, 16, 32])
def test_skewness_costs_the_interval_of_a_mean_less_coverage_than_students_t(n):
    values = np.random.default_rng(n).lognormal(size=(n, 10_000))
    mean, half = values.mean(axis=0), stats.t.ppf(0.975, n - 1) * stats.sem(values, axis=0)
    plain = np.mean(np.abs(mean - np.exp(0.5)) <= half)
    assert coverage(values, np.exp(0.5)) > (0.85 if n > 2 else 0.88)
    assert coverage(values, np.exp(0.5)) >= plain + (0.02 if n > 2 else 0)


def test_without_skewness_the_interval_of_a_mean_is_students_t():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    interval = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx(tuple(interval))


def test_the_interval_of_a_mean_ends_at_the_range_of_values():
    low, high = mean_interval(np.array([[0.0, 5.0], [1.0, 6.0]]), (0.0, 10.0))
    assert low.tolist() == [0, 0] and high.tolist() == [pytest.approx(0.5 + 6.353, abs=1e-3), 10]


def test_fewer_than_two_facts_have_no_interval():
    assert np.isnan(mean_interval(np.ones((1, 3)))).all()
    assert np.isnan(reflected_interval(lambda weights: weights.sum(axis=1), 1)).all()


def test_a_bias_that_recurs_in_every_resample_is_subtracted():
    # The sum of 40 squared means is too large by 40 / n where all true means are 0; a redraw adds
    # nearly as much again, so that percentiles would lie around 80 / n.
    n, estimates, centres = 12, [], []
    for seed in range(60):
        x = np.random.default_rng(seed).normal(size=(n, 40))
        interval = reflected_interval(lambda w: ((w @ x) ** 2).sum(axis=1), n, 200)  # noqa: B023
        estimates.append((x.mean(axis=0) ** 2).sum())
        centres.append(np.mean(interval))
    assert np.mean(estimates) == pytest.approx(40 / n, rel=0.1)
    assert abs(np.mean(centres)) < 0.25 * 40 / n


def test_correlations_agree_with_scipy_and_have_no_value_for_constants():
    x, y = np.random.default_rng(0).normal(size=(2, 50)).round(1)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y)[0])
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y)[0])
    assert np.isnan(pearson(x, np.ones(50))) and np.isnan(spearman(x[:1], y[:1]))
