"""Targets, by their definitions: from logits to one number per fact."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import FACTS, batch_of
from torch.testing import assert_close

from neuronscope.facts.fact import Fact
from neuronscope.models.targets import Answers, Target, answered, log_odds, log_prob

BATCH = batch_of(FACTS)
ANSWERS = Answers.of(BATCH)


def random_logits(answers=ANSWERS, seed=0, spread=3.0):
    generator = torch.Generator().manual_seed(seed)
    shape = (len(answers.token), 60)
    return spread * torch.randn(shape, generator=generator, dtype=torch.float64)


def certain(answer_logit):
    """One row of ten tokens, the answer (token 0) at a logit and the others at 0."""
    logits = torch.zeros(1, 10, dtype=torch.float64)
    logits[0, 0] = answer_logit
    return logits.requires_grad_()


def one_token():
    zero = torch.zeros(1, dtype=torch.long)
    return Answers(zero, zero, zero, torch.empty(1, 0, dtype=torch.long), 1)


@given(st.floats(0.1, 10), st.integers(0, 1000))
def test_log_odds_are_the_logarithm_of_the_odds(spread, seed):
    logits = random_logits(seed=seed, spread=spread)
    p = logits.softmax(dim=-1).gather(-1, ANSWERS.token[:, None])[:, 0]
    assert_close(log_odds(logits, ANSWERS.token), torch.log(p / (1 - p)), rtol=1e-9, atol=1e-9)
    assert_close(log_prob(logits, ANSWERS.token), torch.log(p))


def test_log_odds_stay_exact_where_the_probability_rounds_to_one_or_zero():
    for z in (200.0, -900.0):
        assert certain(z).softmax(dim=-1)[0, 0].item() in (0, 1)
        assert log_odds(certain(z), torch.tensor([0])).item() == pytest.approx(z - math.log(9))


@pytest.mark.parametrize("z", [0.0, 5.0, 30.0])
def test_the_gradient_of_log_odds_stays_one_while_that_of_the_probability_fades(z):
    gradients = {}
    for name in ("log_odds", "log_prob", "prob"):
        logits = certain(z)
        Target(name)(logits, one_token()).sum().backward()
        gradients[name] = logits.grad[0, 0].item()
    p = math.exp(z) / (math.exp(z) + 9)
    q = 9 / (math.exp(z) + 9)
    assert gradients["log_odds"] == pytest.approx(1)
    assert gradients["log_prob"] == pytest.approx(q)
    assert gradients["prob"] == pytest.approx(p * q)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_probability_is_the_product_over_the_answers_tokens(reduction):
    logits = random_logits()
    product = torch.ones(len(FACTS), dtype=torch.float64)
    for row, token, line in zip(ANSWERS.row, ANSWERS.token, logits.softmax(dim=-1), strict=True):
        product[row] *= line[token]
    assert_close(Target("prob", reduction)(logits, ANSWERS), product)
    assert_close(Target("log_prob", "sum")(logits, ANSWERS).exp(), product)


@pytest.mark.parametrize("name", ["log_odds", "log_prob"])
def test_the_sum_is_the_mean_times_the_number_of_tokens(name):
    tokens = ANSWERS.row.bincount()
    assert tokens.tolist() == [1, 1, 2, 1]
    logits = random_logits()
    mean, total = (Target(name, r)(logits, ANSWERS) for r in ("mean", "sum"))
    assert_close(total, mean * tokens)
    assert not torch.allclose(total, mean)


def test_the_margin_by_hand():
    """One fact's distractors diverge at its first token, the other's at its first and second."""
    facts = (
        Fact("one", "the capital of France is", "Paris", distractors=("Rome", "Oslo")),
        Fact("two", "a capital is", "New Delhi", distractors=("New Paris", "Rome")),
    )
    batch = batch_of(facts)
    answers = Answers.of(batch)
    logits = random_logits(answers)
    word = {"Paris": 11, "Rome": 14, "Oslo": 15, "New": 17, "Delhi": 18}
    assert answers.token.tolist() == [word["Paris"], word["New"], word["Delhi"]]
    france, new, delhi = (dict(enumerate(line.tolist())) for line in logits)
    against = math.log(math.exp(france[word["Rome"]]) + math.exp(france[word["Oslo"]]))
    first = new[word["New"]] - new[word["Rome"]]
    second = delhi[word["Delhi"]] - delhi[word["Paris"]]
    expected = torch.tensor([france[word["Paris"]] - against, first + second], dtype=torch.float64)
    assert_close(Target("margin", "sum")(logits, answers), expected)
    assert_close(Target("margin", "mean")(logits, answers), expected / torch.tensor([1, 2]))


def test_a_token_where_no_distractor_diverges_does_not_change_the_margin():
    batch = batch_of((Fact("two", "a capital is", "New Delhi", distractors=("New Paris",)),))
    answers = Answers.of(batch)
    logits = random_logits(answers)
    expected = logits[1, 18] - logits[1, 11]
    for reduction in ("mean", "sum"):
        assert_close(Target("margin", reduction)(logits, answers)[0], expected)


def test_the_margin_is_refused_for_facts_without_distractors():
    bare = Fact("bare", "a young dog", "puppy")
    facts = (*FACTS, bare)
    names = tuple(fact.id for fact in facts)
    Target("log_odds").check(batch_of(facts), names)
    Target("margin").check(batch_of(FACTS), names[:-1])
    with pytest.raises(ValueError, match=r"fact 'bare' has none \(1 such facts\)"):
        Target("margin").check(batch_of(facts), names)


@pytest.mark.parametrize("name", ["log_odds", "log_prob", "prob", "margin"])
@given(rows=st.lists(st.integers(0, len(FACTS) - 1), min_size=1, max_size=9))
def test_rows_taken_out_repeated_or_reordered_keep_their_targets(name, rows):
    logits = random_logits()
    rows = torch.tensor(rows)
    lines = torch.cat([torch.nonzero(ANSWERS.row == row)[:, 0] for row in rows])
    taken = ANSWERS.take(rows)
    assert_close(Target(name)(logits[lines], taken), Target(name)(logits, ANSWERS)[rows])
    assert taken.rows == len(rows)
    assert taken.position.tolist() == ANSWERS.position[lines].tolist()


def test_answers_are_predicted_one_position_earlier():
    for row, position, token in zip(ANSWERS.row, ANSWERS.position, ANSWERS.token, strict=True):
        assert BATCH.tokens[row, position + 1] == token
        assert BATCH.prompt_lengths[row] - 1 <= position < BATCH.lengths[row] - 1
    assert len(ANSWERS.token) == int((BATCH.lengths - BATCH.prompt_lengths).sum())


def test_a_fact_is_answered_when_each_of_its_tokens_is_the_likeliest():
    logits = torch.zeros(len(ANSWERS.token), 60).scatter(1, ANSWERS.token[:, None], 1.0)
    assert answered(logits, ANSWERS).tolist() == [1, 1, 1, 1]
    logits[3, 0] = 2  # the second token of New Delhi
    assert answered(logits, ANSWERS).tolist() == [1, 1, 0, 1]


def test_half_precision_is_converted_before_summation():
    logits = random_logits(spread=0.1)
    half = logits.to(torch.bfloat16)
    for name in ("log_odds", "log_prob", "prob", "margin"):
        ours = Target(name)(half, ANSWERS)
        assert ours.dtype == torch.float32
        assert_close(ours.double(), Target(name)(half.double(), ANSWERS), rtol=1e-5, atol=1e-5)


def test_units_distinguish_sums_from_means_and_nats_from_probabilities():
    assert Target("log_odds").unit == Target("margin").unit == "nats per token"
    assert Target("log_prob", "sum").unit == "nats"
    assert Target("prob").unit == Target("prob", "sum").unit == "probability"
