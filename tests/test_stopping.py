"""Stopping rules apply at their level, not above it; levels come from settings, facts or models."""

import math
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from taught import taught
from tiny import FACTS, FORGET, RETAIN, scores_of, tiny

from neuronscope._discover import method_class, method_names
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import Batch, encode
from neuronscope.metrics._rouge import rouge_l_score
from neuronscope.metrics.answer_accuracy import AnswerAccuracy
from neuronscope.metrics.extraction_likelihood import ExtractionLikelihood
from neuronscope.metrics.memorization_accuracy import MemorizationAccuracy
from neuronscope.metrics.multiple_choice_likelihood import MultipleChoiceLikelihood
from neuronscope.metrics.rouge_l import RougeL
from neuronscope.models.targets import Target
from neuronscope.stopping._base import StopRule
from neuronscope.stopping.extraction import Extraction
from neuronscope.stopping.forget_accuracy import ForgetAccuracy
from neuronscope.stopping.log_odds import LogOdds
from neuronscope.stopping.rouge_mismatched import (
    RougeMismatched,
    mismatched_rouge_l,
    mismatching,
)
from neuronscope.stopping.update_norm import UpdateNorm

FORM = "completion"
LONG = (Fact("a", "Ann lives in", "Cairo past go went"), Fact("b", "Ben eats", "figs is the city"))
SET = FactSet(forget=LONG, retain=FORGET[2:], test=(Fact("c", "Eve eats", "soup go the cat"),))
CHOICES = FactSet(forget=FACTS)
RULES = {
    "extraction": Extraction(n=2),
    "forget_accuracy": ForgetAccuracy(),
    "log_odds": LogOdds(),
    "rouge_mismatched": RougeMismatched(max_new_tokens=4),
    "update_norm": UpdateNorm(norm=2.0),
}
each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


@pytest.fixture(scope="module")
def knowing():
    return taught(LONG, steps=80)


@pytest.fixture(scope="module")
def ignorant():
    return tiny("qwen2")


def test_every_file_is_a_rule():
    assert set(method_names("stopping")) == set(RULES)
    for name, rule in RULES.items():
        assert method_class("stopping", name, StopRule) is type(rule)


@each_rule
def test_a_rule_is_frozen_and_documented(rule):
    assert is_dataclass(rule) and type(rule).__doc__.startswith("Stop when")
    for item in fields(rule):
        with pytest.raises(AttributeError):
            setattr(rule, item.name, None)


@each_rule
def test_a_rule_stops_at_a_model_that_has_forgotten_and_not_before(rule, knowing, ignorant):
    ready = rule.prepare(knowing, SET, FORM)
    assert ready(ready.score(knowing, SET, FORM), 0.5) is None
    reason = ready(ready.score(ignorant, SET, FORM), 2.5)
    assert reason is not None and reason.endswith(".") and reason[0].isupper()


@each_rule
def test_preparing_is_repeatable_and_preparing_twice_changes_nothing(rule, knowing, ignorant):
    ready = rule.prepare(knowing, SET, FORM)
    assert ready == rule.prepare(knowing, SET, FORM)
    assert ready.prepare(ignorant, SET, FORM) == ready
    assert all(value is not None for name, value in vars(ready).items() if name != "match")


@each_rule
def test_scores_are_plain_numbers_and_scoring_does_not_change_the_model(rule, knowing):
    knowing.hf.requires_grad_(True)
    before = {name: p.detach().clone() for name, p in knowing.hf.named_parameters()}
    ready = rule.prepare(knowing, SET, FORM)
    scores = ready.score(knowing, SET, FORM)
    assert scores == ready.score(knowing, SET, FORM)
    assert all(type(value) is float and math.isfinite(value) for value in scores.values())
    for name, p in knowing.hf.named_parameters():
        assert torch.equal(p, before[name]) and p.requires_grad and p.grad is None


@each_rule
def test_every_rule_needs_facts_to_forget(rule):
    with pytest.raises(ValueError, match="split 'forget'"):
        rule.check(FactSet(retain=FORGET), FORM)


@pytest.mark.parametrize(
    ("rule", "name", "level"),
    [
        (ForgetAccuracy(level=0.25, kind="greedy"), "forget_accuracy", 0.25),
        (ForgetAccuracy(level=1 / 3), "forget_accuracy", 11 / 33),
        (LogOdds(level=-2.0), "forget_log_odds", -2.0),
        (RougeMismatched(tau=0.1971), "forget_rouge_l", 0.1971),
    ],
)
def test_a_rule_stops_at_and_below_its_level_and_not_above(rule, name, level):
    assert rule({name: level}, 0.0) is not None
    assert rule({name: level - 1e-9}, 0.0) is not None
    assert rule({name: level + 1e-9}, 0.0) is None
    with pytest.raises(ValueError, match="not a number"):
        rule({name: math.nan}, 0.0)


def test_an_update_norm_stops_at_and_above():
    rule = UpdateNorm(norm=2.0)
    assert [rule({}, norm) is None for norm in (0.0, 1.999, 2.0, 2.001)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_extraction_needs_both_thresholds_to_be_met():
    rule = Extraction(likelihood=0.1, accuracy=0.3)
    for el, ma, stops in ((0.1, 0.3, True), (0.0, 0.0, True), (0.1, 0.31, False), (0.11, 0, False)):
        scores = {"forget_extraction_likelihood": el, "forget_memorization_accuracy": float(ma)}
        assert (rule(scores, 0.0) is not None) == stops
    nothing = {"forget_extraction_likelihood": math.nan, "forget_memorization_accuracy": 0.0}
    with pytest.raises(ValueError, match="not a number"):
        rule(nothing, 0.0)


@pytest.mark.parametrize(
    ("rule", "scores"),
    [
        (ForgetAccuracy(), {"forget_accuracy": 0.0}),
        (RougeMismatched(), {"forget_rouge_l": 0.0}),
        (Extraction(), {
            "forget_extraction_likelihood": 0.0, "forget_memorization_accuracy": 0.0,
        }),
        (UpdateNorm(), {}),
    ],
)  # fmt: skip
def test_a_rule_that_was_not_prepared_says_so(rule, scores):
    with pytest.raises(ValueError, match="prepare"):
        rule(scores, 1.0)


def test_accuracy_is_by_likelihood_in_multiple_choice_and_greedy_elsewhere(knowing):
    form = "multiple_choice"
    ready = ForgetAccuracy().prepare(knowing, CHOICES, form)
    assert (ready.kind, ready.level) == ("multiple-choice", 1 / 3)
    metric = MultipleChoiceLikelihood()(knowing, FACTS, form)
    assert ready.score(knowing, CHOICES, form) == {"forget_accuracy": metric.value}
    ready = ForgetAccuracy().prepare(knowing, CHOICES, FORM)
    assert (ready.kind, ready.level) == ("greedy", 0.0)
    metric = AnswerAccuracy()(knowing, FACTS)
    assert ready.score(knowing, CHOICES, FORM) == {"forget_accuracy": metric.value}
    chosen = ForgetAccuracy(kind="multiple-choice").prepare(knowing, CHOICES, FORM)
    metric = MultipleChoiceLikelihood()(knowing, FACTS)
    assert chosen.level == 1 / 3
    assert chosen.score(knowing, CHOICES, FORM) == {"forget_accuracy": metric.value}
    assert ForgetAccuracy(level=0.5).prepare(knowing, CHOICES, FORM).level == 0.5


def test_missing_distractors_are_found_before_a_model_is_loaded():
    rule = ForgetAccuracy(kind="multiple-choice")
    with pytest.raises(ValueError, match=r"'Ann lives' .*: 1\)"):
        rule.check(FactSet(forget=(*FACTS, FORGET[0])), FORM)
    rule.check(CHOICES, FORM)


def test_mismatching_has_no_fixed_point():
    rng = np.random.default_rng(0)
    for count in (2, 3, 7):
        partner = mismatching(count, rng)
        assert sorted(partner) == list(range(count))
        assert (partner != np.arange(count)).all()


def test_tau_of_two_answers_is_that_of_their_only_mismatch():
    answers = ["blue town hall", "the blue town"]
    # Both contain "blue town", 2 of their 3 words.
    assert mismatched_rouge_l(answers, seed=5, permutations=1) == 2 / 3
    facts = FactSet(forget=tuple(Fact(text, "Where?", text) for text in answers))
    assert RougeMismatched().prepare(tiny("llama"), facts, FORM).tau == pytest.approx(2 / 3)


def test_tau_tends_to_the_mean_over_all_pairs():
    answers = ["red house", "a red door", "no door at all", "blue"]
    pairs = [
        rouge_l_score(own, other, "recall") for own in answers for other in answers if own != other
    ]
    assert len(set(pairs)) > 2
    tau = mismatched_rouge_l(answers, seed=1, permutations=3000)
    assert abs(tau - np.mean(pairs)) < 0.01
    assert tau == mismatched_rouge_l(answers, seed=1, permutations=3000)
    assert tau != mismatched_rouge_l(answers, seed=2, permutations=3000)


def test_equal_answers_are_no_mismatch():
    assert mismatched_rouge_l(["yes", "yes", "no"], seed=0, permutations=20) == 0
    same = FactSet(forget=(Fact("a", "Is it?", "yes"), Fact("b", "Was it?", "yes")))
    with pytest.raises(ValueError, match="two different answers"):
        RougeMismatched().check(same, FORM)
    RougeMismatched(tau=0.2).check(same, FORM)


def test_answers_without_words_have_no_tau():
    facts = FactSet(forget=(Fact("a", "どこ?", "東京"), Fact("b", "どこ?", "京都")))
    with pytest.raises(ValueError, match="a-z and 0-9"):
        RougeMismatched().prepare(tiny("llama"), facts, FORM)


def test_rouge_is_that_of_the_metric(knowing):
    rule = RougeMismatched(max_new_tokens=4)
    metric = RougeL(max_new_tokens=4)(knowing, SET.forget)
    assert rule.score(knowing, SET, FORM) == {"forget_rouge_l": metric.value}


def test_extraction_levels_are_means_of_the_original_model_over_unseen_facts(knowing, ignorant):
    ready = Extraction(n=2).prepare(knowing, SET, FORM)
    el = ExtractionLikelihood(2, "answer")(knowing, SET.test)
    ma = MemorizationAccuracy("answer")(knowing, SET.test)
    assert (ready.likelihood, ready.accuracy) == (el.value, ma.value)
    useful = replace(SET, utility=SET.test, test=())
    assert Extraction(n=2).prepare(knowing, useful, FORM) == ready
    given = Extraction(likelihood=0.2, accuracy=0.4, n=2)
    assert given.prepare(knowing, replace(SET, test=()), FORM) == given
    one = Extraction(accuracy=0.4, n=2).prepare(knowing, SET, FORM)
    assert (one.likelihood, one.accuracy) == (el.value, 0.4)


def test_extraction_without_unseen_facts_or_long_ones_is_refused(knowing):
    with pytest.raises(ValueError, match="'test' or 'utility'"):
        Extraction().check(replace(SET, test=()), FORM)
    with pytest.raises(ValueError, match="split forget have at most 4"):
        Extraction(n=4).prepare(knowing, SET, FORM)
    short = replace(SET, test=RETAIN[8:])
    with pytest.raises(ValueError, match="split test or utility have at most 1"):
        Extraction(n=2).prepare(knowing, short, FORM)


def history(folder, **columns):
    folder.mkdir()
    pd.DataFrame(columns).to_parquet(folder / "history.parquet")
    return folder


def test_an_update_norm_matches_the_end_of_an_earlier_run(tmp_path, ignorant):
    run = history(tmp_path / "run", step=[1, 2, 3], update_norm=[0.5, 1.25, np.nan])
    ready = UpdateNorm(match=run).prepare(ignorant, SET, FORM)
    assert ready == UpdateNorm(norm=1.25)
    assert ready({}, 1.2) is None and ready({}, 1.25) is not None
    with pytest.raises(ValueError, match="got both"):
        UpdateNorm(norm=3.0, match=run)


def test_a_run_that_cannot_be_matched_is_named(tmp_path):
    no_column = history(tmp_path / "other", step=[1, 2])
    never_moved = history(tmp_path / "still", update_norm=[0.0, 0.0])
    empty = history(tmp_path / "empty", update_norm=np.zeros(0))
    for folder, message in (
        (tmp_path / "missing", r"missing' has no history\.parquet"),
        (no_column, "no column update_norm"),
        (never_moved, "above 0, got 0.0"),
        (empty, "got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            UpdateNorm(match=folder).check(SET, FORM)
    with pytest.raises(ValueError, match="`norm` or `match`"):
        UpdateNorm().check(SET, FORM)


def test_log_odds_are_those_of_the_target(knowing):
    batch = Batch.of([encode(fact, knowing.tokenizer, FORM) for fact in LONG], "cpu")
    expected = float(scores_of(knowing, batch, Target("log_odds", "mean")).mean())
    assert LogOdds().score(knowing, SET, FORM)["forget_log_odds"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ForgetAccuracy(level=1.5), "from 0 to 1"),
        (lambda: RougeMismatched(tau=-0.1), "from 0 to 1"),
        (lambda: RougeMismatched(permutations=0), "permutations of 1"),
        (lambda: UpdateNorm(norm=0.0), "above 0"),
        (lambda: UpdateNorm(norm=math.nan), "above 0"),
        (lambda: Extraction(n=0), "n of 1"),
        (lambda: Extraction(accuracy=2.0), "accuracy. from 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
