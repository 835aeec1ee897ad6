"""Metrics as functions of numbers, on examples worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch.testing import assert_close

from neuronscope.facts.fact import Fact
from neuronscope.metrics._answers import guessing
from neuronscope.metrics._membership import (
    auc,
    auc_interval,
    compressed_bytes,
    lowest_mean,
    standardised,
)
from neuronscope.metrics._rouge import rouge_l_score
from neuronscope.metrics._score import Score, mean_score, per_fact
from neuronscope.metrics._text import begins_with, first_lines, first_option, same_answer
from neuronscope.metrics.answer_probability import among_options
from neuronscope.metrics.extraction_likelihood import overlap
from neuronscope.metrics.extraction_strength import extraction_strength
from neuronscope.metrics.forget_quality import forget_quality
from neuronscope.metrics.membership_inference import MembershipInference
from neuronscope.metrics.model_utility import model_utility
from neuronscope.metrics.multiple_choice_likelihood import choice
from neuronscope.metrics.perplexity import perplexity, windows
from neuronscope.metrics.privleak import privleak
from neuronscope.metrics.truth_ratio import aggregated, log_truth_ratio

rng = np.random.default_rng(0)


def mean_of(values, facts=None, metric="example") -> Score:
    ids = facts or [str(place) for place in range(len(values))]
    return mean_score(
        metric, ids, np.array(values), unit="share", direction="higher is more useful"
    )


@pytest.mark.parametrize(
    ("hit", "zero", "peer"),
    [
        ([0, 0, 0, 0], 0, 1 / 4),  # a total miss
        ([0, 0, 0, 1], 1 / 4, 1 / 4),
        ([1, 0, 1, 1], 2 / 4, 2 / 4),
        ([1, 1, 1, 0], 0, 1 / 4),  # all but the last
        ([1, 1, 1, 1], 1, 1),
        ([0], 0, 1),
        ([1], 1, 1),
    ],
)
def test_extraction_strength_is_the_share_of_the_longest_predicted_suffix(hit, zero, peer):
    hit = np.array(hit, dtype=float)
    assert extraction_strength(hit) == zero
    assert extraction_strength(hit, "openunlearning") == peer


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_extraction_strength_is_one_minus_k_over_y(hit):
    smallest = min(k for k in range(len(hit) + 1) if all(hit[k:]))
    assert_close(extraction_strength(np.array(hit, dtype=float)), 1 - smallest / len(hit))


def test_the_truth_ratio_has_three_means_that_differ():
    right = np.log([0.5, 0.5])  # .5 per token
    wrong = [np.log([0.25]), np.log([0.0625, 0.0625])]  # .25 and .0625: geometric mean .125
    log = log_truth_ratio([right], wrong)
    assert_close(math.exp(log), 0.25)
    reworded = [np.log([0.5]), np.log([0.125, 0.125])]  # geometric mean .25
    assert_close(math.exp(log_truth_ratio(reworded, wrong)), 0.5)
    logs = np.array([log, math.log(2.0)])
    assert_close(aggregated(logs, "forget"), np.array([0.25, 0.5]))
    assert_close(aggregated(logs, "utility"), np.array([0.75, 0.0]))
    assert_close(aggregated(logs, "share"), np.array([0.8, 1 / 3]))


def test_a_truth_ratio_that_would_overflow_is_not_an_error():
    logs = np.array([-2000.0, 0.0, 2000.0])
    with np.errstate(all="raise", under="ignore"):
        assert aggregated(logs, "forget").tolist() == [0, 1, 0]
        assert aggregated(logs, "utility").tolist() == [1, 0, 0]
        assert aggregated(logs, "share").tolist() == [1, 0.5, 0]


def test_probability_among_options_is_a_share_of_per_token_probabilities():
    right, wrong = np.log([0.2, 0.8]), np.log([0.1])  # .4 and .1 per token
    assert_close(among_options([right, wrong]), 0.8)


def test_forget_quality_is_the_p_value_of_the_order_alone():
    model, reference = rng.normal(0, 1, 40), rng.normal(1, 1, 30)
    p_value, distance = forget_quality(model, reference)
    expected = stats.ks_2samp(model, reference)
    assert (p_value, distance) == (expected.pvalue, expected.statistic)
    assert_close(forget_quality(np.exp(model), np.exp(reference)), (p_value, distance))
    steps = np.sort(np.concatenate([model, reference]))
    below = [abs((model <= at).mean() - (reference <= at).mean()) for at in steps]
    assert_close(distance, max(below))
    assert forget_quality(model, model) == (1.0, 0.0)
    assert p_value < 0.01


def test_auc_is_the_share_of_pairs_in_the_right_order():
    members, others = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    assert_close(auc(members, others), (1 + 0.5 + 0 + 3) / 6)
    assert auc(members, members) == 0.5
    assert auc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert auc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.0


@given(st.floats(0, 1), st.integers(1, 60), st.integers(1, 60))
def test_an_auc_interval_contains_the_auc_and_is_symmetric(value, m, n):
    low, high = auc_interval(value, m, n)
    assert 0 <= low <= value <= high <= 1 and high - low > 0.01
    assert_close(auc_interval(1 - value, m, n), (1 - high, 1 - low), rtol=1e-6, atol=1e-6)


def test_an_auc_interval_inverts_its_test():
    z, m, n = stats.norm.ppf(0.975), 12, 30
    for value in (0.1, 0.5, 0.83, 1.0):
        for end in auc_interval(value, m, n):
            if 0 < end < 1:
                q1, q2, each = end / (2 - end), 2 * end**2 / (1 + end), (m + n) / 2 - 1
                variance = end * (1 - end) + each * (q1 - end**2) + each * (q2 - end**2)
                assert_close(abs(end - value), z * math.sqrt(variance / (m * n)))


def test_an_auc_interval_covers_95_in_100():
    covered = 0
    for _ in range(400):
        low, high = auc_interval(auc(rng.normal(0, 1, 15), rng.normal(1, 1, 20)), 15, 20)
        covered += low <= stats.norm.cdf(1 / math.sqrt(2)) <= high
    assert 0.92 <= covered / 400 <= 0.985


@pytest.mark.parametrize(
    ("model", "reference", "percent"),
    [(1.0, 0.5, -100), (0.5, 0.5, 0), (0.0, 0.5, 100), (0.75, 0.5, -50), (0.6, 0.6, 0)],
)
def test_privleak_is_negative_where_facts_still_look_seen(model, reference, percent):
    assert_close(privleak(model, reference), float(percent))


def test_privleak_has_no_value_against_a_reference_that_knows_everything():
    assert math.isnan(privleak(0.5, 1.0))
    assert privleak(1.0, 0.99) == pytest.approx(-100)


def test_min_k_uses_the_least_likely_tokens_and_at_least_one():
    tokens = np.array([-1.0, -5.0, -2.0, -4.0, -3.0])
    assert lowest_mean(tokens, 0.4) == -4.5
    assert lowest_mean(tokens, 0.1) == -5.0
    assert lowest_mean(tokens, 1.0) == -3.0


def test_min_k_plus_plus_standardises_at_each_position():
    p = torch.tensor([[0.5, 0.25, 0.25], [0.7, 0.2, 0.1]], dtype=torch.float64)
    log = p.log()
    mean = [sum(q * math.log(q) for q in row) for row in p.tolist()]
    square = [sum(q * math.log(q) ** 2 for q in row) for row in p.tolist()]
    token = torch.tensor([0, 2])
    expected = [
        (log[i, token[i]].item() - mean[i]) / math.sqrt(square[i] - mean[i] ** 2) for i in (0, 1)
    ]
    assert_close(standardised(log + 3.0, token).tolist(), expected)
    certain = torch.tensor([[0.0, -1e9]], dtype=torch.float64)
    assert standardised(certain, torch.tensor([0])).isnan().all()


def test_zlib_counts_bytes_of_text():
    assert compressed_bytes("a" * 1000) < compressed_bytes("".join(map(chr, range(48, 120))))


def test_k_must_be_a_share():
    for k in (0.0, 1.5):
        with pytest.raises(ValueError, match="share k"):
            MembershipInference(k=k)


def test_rouge_l_is_the_longest_common_subsequence_of_stemmed_words():
    expected, text = "The cats sat on the mats", "a cat was sitting on mats, the cats said"
    # Stemmed, in order: cat, on, mat; or cat, on, the: three of six.
    assert_close(rouge_l_score(expected, text, "recall"), 3 / 6)
    assert_close(rouge_l_score(expected, text, "f1"), 2 * (3 / 6) * (3 / 9) / (3 / 6 + 3 / 9))
    assert (
        rouge_l_score(expected, expected, "recall") == rouge_l_score(expected, expected, "f1") == 1
    )
    assert rouge_l_score(expected, "", "recall") == 0
    rambling = "word " * 50 + expected
    assert (
        rouge_l_score(expected, rambling, "recall") == 1 > rouge_l_score(expected, rambling, "f1")
    )


def test_rouge_l_has_no_value_without_words():
    assert math.isnan(rouge_l_score("東京", "東京", "recall"))


@pytest.mark.parametrize(
    ("written", "true", "n", "share"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), 2, 1.0),
        ((9, 1, 2, 9), (1, 2, 3, 4), 2, 1 / 3),
        ((3, 4, 1, 2), (1, 2, 3, 4), 2, 2 / 3),  # order within n-grams alone
        ((1, 1, 1, 1), (1, 1, 2, 2), 2, 1.0),  # the written ones count, each time
        ((5, 6, 7, 8), (1, 2, 3, 4), 1, 0.0),
    ],
)
def test_overlap_is_the_share_of_written_n_grams_that_are_true(written, true, n, share):
    assert overlap(written, true, n) == share


def test_overlap_has_no_value_without_n_grams():
    assert math.isnan(overlap((1, 2), (1, 2, 3), 3))


def test_model_utility_is_zero_if_one_score_is():
    assert model_utility([mean_of([0.5, 0.7]), mean_of([0.0, 0.0])]).value == 0


def test_model_utility_is_the_harmonic_mean_and_lies_in_its_interval():
    one, other = mean_of(rng.uniform(0.2, 1, 30)), mean_of(rng.uniform(0.2, 1, 30))
    third = mean_of(rng.uniform(0.2, 1, 20), [f"r{place}" for place in range(20)])
    score = model_utility([one, other, third])
    assert_close(score.value, 3 / (1 / one.value + 1 / other.value + 1 / third.value))
    low, high = score.ci95
    assert low < score.value < high and (score.n, len(score.per_fact)) == (50, 80)


def test_model_utility_draws_the_facts_of_one_set_jointly():
    # Two scores that make up for each other fact by fact: only apart do they vary much.
    up = np.linspace(0.4, 0.6, 20)
    names = [f"r{place}" for place in range(20)]
    together = model_utility([mean_of(up), mean_of(1 - up)]).ci95
    apart = model_utility([mean_of(up), mean_of(1 - up, names)]).ci95
    assert (together[1] - together[0]) < 0.2 * (apart[1] - apart[0])


def test_model_utility_rejects_scores_that_are_not_means_over_facts():
    score = Score(
        "forget_quality", 0.3, (math.nan, math.nan), 2, None, "p-value",
        "higher is more forgotten", None, per_fact(["a", "b"], np.array([1.0, 2.0])),
    )  # fmt: skip
    with pytest.raises(ValueError, match="expected a mean over facts"):
        model_utility([mean_of([0.5, 0.7]), score])
    with pytest.raises(ValueError, match="got none"):
        model_utility([])


def test_perplexity_weights_texts_by_their_tokens():
    nats, tokens = np.array([math.log(2) * 3, math.log(8)]), np.array([3.0, 1.0])
    assert_close(float(perplexity(nats, tokens)), 2 ** (6 / 4))


@given(st.integers(2, 40), st.integers(2, 12))
def test_windows_predict_each_token_but_the_first_once(length, window):
    tokens = tuple(range(length))
    pieces = windows(tokens, window)
    assert [token for one in pieces for token in one.tokens[1:]] == list(tokens[1:])
    assert all(2 <= len(one.tokens) <= window and one.prompt_length == 1 for one in pieces)


def test_chance_among_options_is_rounded_once():
    facts = [Fact(str(i), "a", "b", distractors=("c", "d")) for i in range(33)]
    assert guessing(facts, "completion") == 1 / 3 == 11 / 33
    mixed = [*facts[:1], Fact("x", "a", "b", distractors=("c",))]
    assert_close(guessing(mixed, "completion"), (1 / 3 + 1 / 2) / 2)
    long = [Fact("x", "a", "b", distractors=("c", "d", "e", "f"))]
    assert guessing(long, "completion") == 1 / 5
    assert guessing(long, "multiple_choice") == 1 / 3  # two are shown


def test_a_tie_counts_against_the_answer():
    assert choice([2.0, 1.0, 0.5]) == 0
    assert choice([1.0, 0.5, 2.0]) == 2
    assert choice([1.0, 0.5, 1.0]) == 2


@pytest.mark.parametrize(
    ("given", "expected", "whole", "beginning"),
    [
        ("the  Paris.", "Paris", True, True),
        ("Paris, France", "Paris", False, True),
        ("New York", "York", False, False),
        ("Parisian", "Paris", False, False),
        ("", "Paris", False, False),
        ("The", "the", True, True),  # nothing but an article: as it stands
        ("", "the", False, False),
        ("ＮＥＷ delhi", "New Delhi", True, True),
    ],
)
def test_exact_match_ignores_case_punctuation_and_articles(given, expected, whole, beginning):
    assert same_answer(given, expected) == whole
    assert begins_with(given, expected) == beginning


def test_only_as_many_lines_count_as_the_answer_has():
    assert first_lines("\n Paris\nQuestion: next", "Rome") == "Paris"
    assert first_lines("one\ntwo\nthree", "a\nb") == "one\ntwo"
    assert first_lines("", "Rome") == ""


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ("Rome", 1),
        ("the answer is OSLO, not Rome", 2),
        ("Romeo", None),
        ("New York City", 4),  # the longer of two that begin alike
        ("New York", 3),
        ("", None),
    ],
)
def test_the_choice_is_the_option_named_first(given, place):
    options = ("Paris", "Rome", "Oslo", "New York", "New York City")
    assert first_option(given, options) == place
