"""Contract tests of all metrics; new files in the folder are covered automatically."""

import inspect
import math
import random
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from taught import taught
from tiny import FACTS, FORGET, RETAIN, tiny, tokenizer
from torch.testing import assert_close

from neuronscope._discover import method_class, method_names
from neuronscope.metrics._base import Metric
from neuronscope.metrics._score import Score, mean_score, rate_score
from neuronscope.metrics.answer_accuracy import AnswerAccuracy
from neuronscope.metrics.exact_match import ExactMatch
from neuronscope.metrics.extraction_likelihood import ExtractionLikelihood
from neuronscope.metrics.forget_quality import ForgetQuality
from neuronscope.metrics.membership_inference import MembershipInference
from neuronscope.metrics.model_utility import ModelUtility
from neuronscope.metrics.multiple_choice_generation import MultipleChoiceGeneration
from neuronscope.metrics.multiple_choice_likelihood import MultipleChoiceLikelihood
from neuronscope.metrics.rouge_l import RougeL
from neuronscope.metrics.truth_ratio import TruthRatio

METRICS: dict[str, Metric] = {
    name: method_class("metrics", name, Metric)() for name in method_names("metrics")
} | {
    "extraction_likelihood": ExtractionLikelihood(n=1),
    "exact_match": ExactMatch(max_new_tokens=6),
    "model_utility": ModelUtility(max_new_tokens=6),
    "multiple_choice_generation": MultipleChoiceGeneration(max_new_tokens=6),
    "rouge_l": RougeL(max_new_tokens=6),
}
"""Settings with n-grams and answers no longer than those of the tiny facts."""

RATES = {"answer_accuracy", "exact_match", "multiple_choice_generation",
         "multiple_choice_likelihood"}  # fmt: skip
WITHOUT_INTERVAL = {"forget_quality"}
HOLDOUT = FORGET[:5]
NEEDED = {
    "distractors": "needs distractors",
    "reference": "needs a model to compare with",
    "holdout": "needs facts that the model never saw",
}
each_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@pytest.fixture(scope="module")
def models():
    """A model that knows half of the facts, and one that knows none."""
    return taught(FACTS[1:3]), tiny("qwen2")


def scored(metric, models, facts=FACTS):
    return metric(models[0], facts, reference=models[1], holdout=HOLDOUT)


@each_metric
def test_every_metric_gives_a_complete_score(metric, models):
    score = scored(metric, models)
    name = type(metric).__module__.rpartition(".")[2]
    assert score.metric.startswith(name)
    assert math.isfinite(score.value) and not score.reason
    assert score.n == len(FACTS)
    assert set(score.per_fact["fact"]) >= {fact.id for fact in FACTS}
    assert (score.count is None) == (name not in RATES)
    if name in WITHOUT_INTERVAL:
        assert all(math.isnan(end) for end in score.ci95)
    else:
        low, high = score.ci95
        assert low <= score.value <= high and low < high


@each_metric
def test_every_metric_is_a_frozen_dataclass_whose_settings_are_explained(metric):
    assert is_dataclass(metric) and type(metric).__doc__
    source = inspect.getsource(type(metric))
    for item in fields(metric):
        assert f"{item.name}: " in source and '"""' in source.split(f"{item.name}: ")[1]
        with pytest.raises(AttributeError):
            setattr(metric, item.name, None)


@each_metric
def test_batch_mates_padding_and_order_change_nothing(metric, models):
    shuffled = random.Random(1).sample(FACTS, len(FACTS))
    together = scored(metric, models).per_fact
    other_order = scored(metric, models, tuple(shuffled)).per_fact
    keys = [name for name in ("metric", "fact") if name in together]
    for name, column in together.select_dtypes("number").items():
        by_fact = dict(zip(together[keys].itertuples(index=False), column, strict=True))
        again = dict(zip(other_order[keys].itertuples(index=False), other_order[name], strict=True))
        assert_close(again, by_fact)
        for fact in FACTS:
            alone = scored(metric, models, (fact,)).per_fact
            mine = alone[alone["fact"] == fact.id]
            assert len(mine)
            for key, value in zip(mine[keys].itertuples(index=False), mine[name], strict=True):
                assert_close(value, by_fact[key])


@each_metric
def test_scoring_is_deterministic(metric, models):
    one, other = scored(metric, models), scored(metric, models)
    assert (one.value, one.count, one.n) == (other.value, other.count, other.n)
    assert one.ci95 == other.ci95 or all(map(math.isnan, (*one.ci95, *other.ci95)))
    pd.testing.assert_frame_equal(one.per_fact, other.per_fact)


@each_metric
def test_the_model_is_left_unchanged(metric, models):
    model = models[0]
    model.hf.train().requires_grad_(True)
    before = {name: p.detach().clone() for name, p in model.hf.named_parameters()}
    settings = model.hf.generation_config
    scored(metric, models)
    assert all(module.training for module in model.hf.modules())
    assert model.hf.generation_config is settings
    for name, p in model.hf.named_parameters():
        assert torch.equal(p, before[name]) and p.requires_grad and p.grad is None
    for module in model.hf.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    model.hf.eval()


@each_metric
def test_dropout_is_off_while_a_model_in_training_is_scored(metric, models):
    model = tiny("gpt2")
    still = scored(metric, (model, models[1]))
    model.hf.train()
    assert any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.hf.modules())
    pd.testing.assert_frame_equal(scored(metric, (model, models[1])).per_fact, still.per_fact)


@each_metric
def test_a_metric_declares_whether_it_generates(metric, models, monkeypatch):
    def refuse(*tokens, **settings):
        raise AssertionError("written")

    monkeypatch.setattr(models[0].hf, "generate", refuse)
    if metric.generates:
        with pytest.raises(AssertionError, match="written"):
            scored(metric, models)
    else:
        scored(metric, models)


@each_metric
def test_facts_that_cannot_be_encoded_are_found_without_a_model(metric):
    metric.check_tokens(FACTS, tokenizer(), "completion")
    # Words that the tokenizer does not know, where only the truth ratio reads.
    reworded = tuple(replace(fact, paraphrased_answers=("zyx",)) for fact in FACTS)
    if isinstance(metric, (TruthRatio, ForgetQuality, ModelUtility)):
        with pytest.raises(ValueError, match="zyx"):
            metric.check_tokens(reworded, tokenizer(), "completion")
    else:
        metric.check_tokens(reworded, tokenizer(), "completion")
    # No space follows a Chinese character, so that it shares a token with the answer.
    strange = replace(FACTS[0], prompt="the 城")
    if isinstance(metric, MultipleChoiceGeneration):
        strange = replace(strange, distractors=("Rome",))
    with pytest.raises(ValueError, match="france"):
        metric.check_tokens((strange,), tokenizer(), "completion")


@each_metric
def test_without_facts_there_is_no_score(metric, models):
    with pytest.raises(ValueError, match="at least one fact"):
        scored(metric, models, ())


@pytest.mark.parametrize(
    "metric",
    [metric for metric in METRICS.values() if metric.needs],
    ids=lambda m: type(m).__name__,
)
def test_the_needs_of_a_metric_are_checked_before_computing(metric, models):
    def refuse(module, args):
        raise AssertionError("computed")

    hook = models[0].hf.register_forward_pre_hook(refuse)
    bare = tuple(replace(fact, distractors=()) for fact in FACTS)
    given = {"distractors": FACTS, "reference": models[1], "holdout": HOLDOUT}
    for need in metric.needs:
        less = given | {"distractors": bare, "reference": None, "holdout": ()}
        chosen = given | {need: less[need]}
        facts = chosen.pop("distractors")
        with pytest.raises(ValueError, match=NEEDED[need]):
            metric(models[0], facts, **chosen)
    with pytest.raises(AssertionError, match="computed"):
        scored(metric, models)
    hook.remove()


@each_metric
def test_a_broken_model_is_not_taken_for_one_that_has_forgotten(metric):
    model = tiny("llama")
    with torch.no_grad():
        next(model.hf.parameters()).fill_(math.nan)
    with pytest.raises(ValueError, match="NaN"):
        metric(model, FACTS, reference=tiny("qwen2"), holdout=HOLDOUT)


@pytest.mark.parametrize("form", ["question_answer", "multiple_choice"])
@each_metric
def test_every_prompt_form_is_possible(metric, form):
    # The words of these forms' instructions are unknown to the tiny tokenizer, which is no matter.
    model, other = tiny("llama", max_position_embeddings=256), tiny("qwen2")
    holdout = [replace(fact, distractors=("Rome", "Oslo")) for fact in HOLDOUT]
    score = metric(model, FACTS, form, reference=other, holdout=holdout)
    assert math.isfinite(score.value)


def test_a_score_loads_as_it_was_saved(tmp_path, models):
    texts = scored(RougeL(), models)
    empty = mean_score(
        "example", ["a", "b"], np.array([np.nan, np.nan]), unit="nats",
        direction="higher is more useful", undefined="have no words",
    )  # fmt: skip
    infinite = replace(texts, figures={"log10_p": -math.inf, "none": math.nan})
    for number, score in enumerate((texts, empty, infinite, scored(ModelUtility(), models))):
        path = tmp_path / f"{number}.json"
        score.save(path)
        loaded = Score.load(path)
        for item in fields(Score):
            one, other = getattr(score, item.name), getattr(loaded, item.name)
            if item.name == "per_fact":
                pd.testing.assert_frame_equal(one, other, check_exact=True)
            else:
                assert repr(one) == repr(other)  # to the last digit, and NaN is NaN
    with pytest.raises(FileExistsError):
        texts.save(tmp_path / "0.json")
    (tmp_path / "0.json").write_text('{"metric": "rouge_l"}')
    with pytest.raises(ValueError, match="not a complete score"):
        Score.load(tmp_path / "0.json")


def test_an_undefined_value_has_a_reason():
    score = mean_score(
        "example", ["a", "b", "c"], np.array([1.0, np.nan, 3.0]), unit="nats",
        direction="lower is more forgotten", undefined="have no words",
    )  # fmt: skip
    assert (score.value, score.n) == (2.0, 2)
    assert score.reason == "1 of 3 facts have no words."
    with pytest.raises(ValueError, match="needs a reason"):
        replace(score, value=math.nan, reason="")


def test_a_rate_has_its_count_and_wilson_interval():
    right = np.array([True] * 4 + [False] * 23)
    score = rate_score(
        "example", [str(i) for i in range(27)], right,
        direction="lower is more forgotten", chance=None,
    )  # fmt: skip
    assert (score.count, score.n, score.value) == (4, 27, 4 / 27)
    z, n, p = 1.959963984540054, 27, 4 / 27
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert_close(score.ci95, (centre - half, centre + half))
    assert [round(100 * end) for end in score.ci95] == [6, 32]


def test_large_sets_are_evaluated_in_batches_with_the_same_result(models, monkeypatch):
    facts = (*FACTS, *FORGET, *RETAIN)
    metric = AnswerAccuracy()
    whole = metric(models[0], facts).per_fact
    monkeypatch.setattr("neuronscope.models.answers.LARGEST_LOGITS", 1)
    pd.testing.assert_frame_equal(metric(models[0], facts).per_fact, whole)
    assert 0 < whole["value"].sum() < len(facts)


def test_metrics_evaluate_only_the_texts_that_they_declare(models):
    assert MultipleChoiceLikelihood().needs == ("distractors",)
    assert ForgetQuality().needs == ("distractors", "reference")
    assert MembershipInference("reference").needs == ("holdout", "reference")
    assert MembershipInference("loss").needs == ("holdout",)
