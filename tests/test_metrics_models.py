"""Metrics of models against a second implementation: all logits of the bare model, per fact."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from taught import taught
from tiny import FACTS, FORGET, RETAIN, tiny
from torch.testing import assert_close

from neuronscope.facts.prompts import encode
from neuronscope.metrics._membership import auc
from neuronscope.metrics.answer_accuracy import AnswerAccuracy
from neuronscope.metrics.answer_probability import AnswerProbability
from neuronscope.metrics.exact_memorization import ExactMemorization
from neuronscope.metrics.extraction_strength import ExtractionStrength
from neuronscope.metrics.forget_quality import ForgetQuality
from neuronscope.metrics.membership_inference import MembershipInference
from neuronscope.metrics.memorization_accuracy import MemorizationAccuracy
from neuronscope.metrics.model_utility import ModelUtility
from neuronscope.metrics.multiple_choice_likelihood import MultipleChoiceLikelihood
from neuronscope.metrics.perplexity import Perplexity
from neuronscope.metrics.privleak import PrivLeak
from neuronscope.metrics.rouge_l import RougeL
from neuronscope.metrics.truth_ratio import TruthRatio


@pytest.fixture(scope="module")
def model():
    """A model that knows half of the facts."""
    return taught(FACTS[1:3])


@pytest.fixture(scope="module")
def other():
    return tiny("qwen2")


def log_probs(model, fact, text=None):
    """Statistics of each answer token, from one fact at a time and all logits of the bare model."""
    plain = replace(fact, answer=text or fact.answer, distractors=())
    encoded = encode(plain, model.tokenizer, "completion")
    tokens = torch.tensor([encoded.tokens])
    with torch.no_grad():
        every = model.hf(input_ids=tokens, use_cache=False).logits[0].log_softmax(dim=-1)
    places = range(encoded.prompt_length, len(encoded.tokens))
    values = np.array([float(every[at - 1, encoded.tokens[at]]) for at in places])
    best = np.array([int(every[at - 1].argmax()) == encoded.tokens[at] for at in places])
    return values, best


def column(score):
    return score.per_fact["value"].tolist()


def test_accuracy_and_memorization_count_most_likely_tokens(model):
    best = [log_probs(model, fact)[1] for fact in FACTS]
    accuracy = AnswerAccuracy()(model, FACTS)
    assert column(accuracy) == [float(hit.all()) for hit in best]
    assert 0 < accuracy.count < accuracy.n
    assert_close(column(ExactMemorization()(model, FACTS)), [hit.mean().item() for hit in best])


def test_memorization_accuracy_reads_the_prompt_too(model):
    score = MemorizationAccuracy()(model, FACTS)
    for fact, value in zip(FACTS, column(score), strict=True):
        tokens = torch.tensor([model.tokenizer(f"{fact.prompt} {fact.answer}")["input_ids"]])
        with torch.no_grad():
            best = model.hf(input_ids=tokens, use_cache=False).logits[0].argmax(dim=-1)
        assert_close(value, float((best[:-1] == tokens[0, 1:]).double().mean()))
    on_answers = MemorizationAccuracy("answer")(model, FACTS)
    assert column(on_answers) == column(ExactMemorization()(model, FACTS))
    assert column(on_answers) != column(score)
    assert {score.metric, on_answers.metric} == {
        "memorization_accuracy", "memorization_accuracy_answer",
    }  # fmt: skip


def test_extraction_strength_has_one_name_per_floor(model, other):
    ours, theirs = ExtractionStrength(), ExtractionStrength("openunlearning")
    assert ours(model, FACTS).metric == "extraction_strength_zero_floor"
    assert theirs(model, FACTS).metric == "extraction_strength"
    missed = [fact for fact in FACTS if not log_probs(other, fact)[1].any()]
    assert missed
    assert set(column(ours(other, missed))) == {0.0}
    lengths = [len(log_probs(other, fact)[0]) for fact in missed]
    assert column(theirs(other, missed)) == [1 / length for length in lengths]


def test_probability_is_per_token_or_the_product_or_among_options(model):
    values = [log_probs(model, fact)[0] for fact in FACTS]
    per_token = [float(np.exp(one.mean())) for one in values]
    assert_close(column(AnswerProbability()(model, FACTS)), per_token)
    product = [float(np.exp(one.sum())) for one in values]
    assert_close(column(AnswerProbability("product")(model, FACTS)), product)
    assert per_token[2] != pytest.approx(product[2])  # two tokens
    among = []
    for fact, right in zip(FACTS, per_token, strict=True):
        wrong = [math.exp(log_probs(model, fact, text)[0].mean()) for text in fact.distractors]
        among.append(right / (right + sum(wrong)))
    assert_close(column(AnswerProbability("among-options")(model, FACTS)), among)


@pytest.mark.parametrize("length_normalised", [False, True])
def test_multiple_choice_by_likelihood_is_the_likeliest_option(model, length_normalised):
    reduce = np.mean if length_normalised else np.sum
    score = MultipleChoiceLikelihood(length_normalised)(model, FACTS)
    for fact, row in zip(FACTS, score.per_fact.itertuples(), strict=True):
        options = (fact.answer, *fact.distractors)
        likelihood = [reduce(log_probs(model, fact, text)[0]) for text in options]
        assert row.choice == options[int(np.argmax(likelihood))]
        assert row.value == (row.choice == fact.answer)
    assert score.chance == 1 / 3 and 0 < score.count < score.n


def test_the_prompt_of_a_multiple_choice_is_the_same_for_every_option(model):
    words = model.tokenizer
    own = encode(FACTS[0], words, "multiple_choice", "Paris")
    rival = encode(FACTS[0], words, "multiple_choice", "Rome")
    assert own.tokens[: own.prompt_length] == rival.tokens[: rival.prompt_length]
    assert own.tokens == encode(FACTS[0], words, "multiple_choice").tokens
    assert own.tokens[-1] != rival.tokens[-1]


def test_truth_ratios_are_named_and_differ(model):
    right = [log_probs(model, fact)[0].mean() for fact in FACTS]
    wrong = [
        np.mean([log_probs(model, fact, text)[0].mean() for text in fact.distractors])
        for fact in FACTS
    ]
    ratio = np.exp(np.array(wrong) - np.array(right))
    expected = {
        "forget": np.minimum(ratio, 1 / ratio),
        "utility": np.maximum(0, 1 - ratio),
        "share": 1 / (1 + ratio),
    }
    scores = {name: TruthRatio(name)(model, FACTS) for name in expected}
    for name, values in expected.items():
        assert scores[name].metric == f"truth_ratio_{name}"
        assert_close(column(scores[name]), values.tolist())
    assert len({round(score.value, 6) for score in scores.values()}) == 3


def test_the_truth_ratio_counts_paraphrased_answers_as_right(model):
    reworded = [replace(fact, paraphrased_answers=("a young dog", fact.answer)) for fact in FACTS]
    right = [
        np.mean([log_probs(model, fact, text)[0].mean() for text in fact.paraphrased_answers])
        for fact in reworded
    ]
    wrong = [
        np.mean([log_probs(model, fact, text)[0].mean() for text in fact.distractors])
        for fact in FACTS
    ]
    of_reworded = TruthRatio()(model, reworded).per_fact["log_truth_ratio"]
    assert_close(of_reworded.tolist(), (np.array(wrong) - np.array(right)).tolist())
    plain = TruthRatio()(model, FACTS).per_fact["log_truth_ratio"]
    assert not np.isclose(of_reworded, plain).any()
    same = [replace(fact, paraphrased_answers=(fact.answer,)) for fact in FACTS]
    assert TruthRatio()(model, same).per_fact["log_truth_ratio"].tolist() == plain.tolist()


def test_forget_quality_is_one_against_itself_and_less_against_another(model, other):
    score = ForgetQuality()(model, FACTS, reference=other)
    ours, theirs = (
        TruthRatio()(each, FACTS).per_fact["log_truth_ratio"] for each in (model, other)
    )
    expected = stats.ks_2samp(ours, theirs)
    assert_close(score.value, expected.pvalue)
    assert_close(score.figures["ks_distance"], expected.statistic)
    assert_close(10 ** score.figures["log10_p"], score.value)
    assert ForgetQuality()(model, FACTS, reference=model).value == 1 > score.value


@pytest.mark.parametrize("attack", ["loss", "zlib", "min-k", "min-k++", "reference"])
def test_trained_facts_look_like_training_data(attack, other):
    model = taught(FORGET)
    score = MembershipInference(attack)(model, FORGET, reference=other, holdout=RETAIN)
    assert score.value == 1 and score.ci95[0] > 0.7
    assert score.per_fact["set"].tolist() == ["facts"] * 10 + ["holdout"] * 10
    swapped = MembershipInference(attack)(model, RETAIN, reference=other, holdout=FORGET)
    assert swapped.value == 0
    same = MembershipInference(attack)(model, FORGET, reference=other, holdout=FORGET)
    assert same.value == 0.5 and same.figures["auc_distance"] == 0


def test_losses_by_attack(model, other):
    def values(attack, k=0.4):
        metric = MembershipInference(attack, k)
        return (
            metric(model, FACTS, reference=other, holdout=FORGET)
            .per_fact["value"]
            .to_numpy(copy=True)[:4]
        )

    loss = np.array([-log_probs(model, fact)[0].mean() for fact in FACTS])
    assert_close(values("loss"), loss)
    assert_close(values("min-k", 1.0), loss)
    lowest = [-log_probs(model, fact)[0].min() for fact in FACTS]
    assert_close(values("min-k", 0.5), np.array(lowest))
    theirs = np.array([-log_probs(other, fact)[0].mean() for fact in FACTS])
    assert_close(values("reference"), loss - theirs)


def test_privleak_follows_from_the_auc_and_the_reference(other):
    model = taught(FORGET)
    assert_close(PrivLeak()(model, FORGET, holdout=RETAIN).value, -100.0)
    assert_close(PrivLeak()(model, RETAIN, holdout=FORGET).value, 100.0)
    score = PrivLeak()(model, RETAIN, reference=other, holdout=FORGET)
    strange = MembershipInference()(other, RETAIN, holdout=FORGET).per_fact["value"].to_numpy()
    reference = auc(strange[:10], strange[10:])
    assert 0 < reference < 1
    assert_close(score.value, 100 * reference / (1 - reference))
    assert score.figures == {"auc": 0.0, "auc_reference": reference}
    assert score.ci95[0] <= score.value <= score.ci95[1]
    known = PrivLeak()(other, FORGET, reference=model, holdout=RETAIN)
    assert math.isnan(known.value) and "AUC of 1" in known.reason


def test_utility_is_computed_from_its_parts(model):
    utility = ModelUtility("among-options", max_new_tokens=6)(model, FACTS)
    parts = (AnswerProbability("among-options"), RougeL(max_new_tokens=6), TruthRatio("utility"))
    values = [part(model, FACTS).value for part in parts]
    assert min(values) > 0
    assert_close(utility.value, float(stats.hmean(values)))


def test_perplexity_is_that_of_all_tokens(model):
    text = "the capital of Peru is called Lima a young dog is called puppy"
    tokens = torch.tensor([model.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        loss = model.hf(input_ids=tokens, labels=tokens, use_cache=False).loss
    score = Perplexity().of_texts(model, [text])
    assert_close(score.value, float(loss.exp()), rtol=1e-5, atol=0.0)  # theirs in single precision
    assert all(map(math.isnan, score.ci95))
    facts = Perplexity()(model, FACTS)
    texts = Perplexity().of_texts(model, [f"{fact.prompt} {fact.answer}" for fact in FACTS])
    assert_close(facts.value, texts.value)
    assert facts.ci95[0] < facts.value < facts.ci95[1]
    assert facts.figures["tokens"] == sum(facts.per_fact["tokens"])


def test_a_document_longer_than_the_window_is_evaluated_in_pieces(model):
    text = "the capital of Peru is called Lima a young dog is called puppy"
    words = text.split()
    pieces = [" ".join(words[start : start + 5]) for start in (0, 4, 8)]
    whole = Perplexity(window=5).of_texts(model, [text])
    apart = Perplexity().of_texts(model, pieces)
    assert_close(whole.value, apart.value)
    assert whole.figures["tokens"] == apart.figures["tokens"] == len(words) - 1
    assert whole.value != pytest.approx(Perplexity().of_texts(model, [text]).value)


def test_perplexity_rejects_texts_without_a_token_to_predict(model):
    for texts, message in (([], "got none"), (["the capital", "the"], "index 1")):
        with pytest.raises(ValueError, match=message):
            Perplexity().of_texts(model, texts)
    with pytest.raises(ValueError, match="window of 2"):
        Perplexity(window=1)
