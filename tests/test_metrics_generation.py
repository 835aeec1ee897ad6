"""Greedy continuations, and the metrics that use them."""

import math
from dataclasses import replace

import pytest
import torch
from taught import taught
from tiny import ARCHITECTURES, COMMON, FACTS, FORGET, RETAIN, WORDS, tiny, tokenizer
from torch.testing import assert_close
from transformers import GenerationConfig

from neuronscope.facts.fact import Fact
from neuronscope.metrics._generation import answers_given, continuations, stop_tokens
from neuronscope.metrics.answer_accuracy import AnswerAccuracy
from neuronscope.metrics.exact_match import ExactMatch
from neuronscope.metrics.extraction_likelihood import ExtractionLikelihood, overlap
from neuronscope.metrics.multiple_choice_generation import MultipleChoiceGeneration
from neuronscope.metrics.rouge_l import RougeL

PROMPTS = [(4, 5, 6), (8,), (21, 24, 25, 7, 9), (4, 5, 9), (11,), (5, 6, 7, 8)]


def greedy(model, prompt, count):
    """Token by token, without a cache, one prompt at a time."""
    tokens = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([tokens]), use_cache=False).logits
        tokens.append(int(logits[0, -1].argmax()))
    return tuple(tokens[len(prompt) :])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_continuations_are_the_most_likely_tokens_in_any_batch(architecture):
    model = tiny(architecture)
    expected = [greedy(model, prompt, 6) for prompt in PROMPTS]
    assert continuations(model, PROMPTS, [6] * len(PROMPTS), frozenset()) == expected
    for prompt, tokens in zip(PROMPTS, expected, strict=True):
        assert continuations(model, [prompt], [6], frozenset()) == [tokens]


def counted(model, monkeypatch):
    """The lengths of the prompts passed to the model's `generate`."""
    passed, generate = [], model.hf.generate

    def counting(tokens, **settings):
        passed.append(tuple(tokens.shape))
        return generate(tokens, **settings)

    monkeypatch.setattr(model.hf, "generate", counting)
    return passed


def test_prompts_share_a_batch_unless_waiting_costs_more_than_another_batch(monkeypatch):
    model = tiny("llama")
    passed = counted(model, monkeypatch)
    prompts = [(8,), (21, 24, 25, 7), tuple(range(4, 24))]
    expected = [greedy(model, prompt, 3) for prompt in prompts]
    assert continuations(model, prompts, [3] * 3, frozenset()) == expected
    assert passed == [(2, 1), (1, 20)]
    assert continuations(model, prompts, [19] * 3, frozenset()) == [
        greedy(model, prompt, 19) for prompt in prompts
    ]
    assert passed[2:] == [(3, 1)]


def test_a_stop_token_within_a_prompt_has_no_effect():
    model = tiny("llama")
    short, long = (8,), (21, 24, 25, 7, 9)
    first, other = greedy(model, short, 6), greedy(model, long, 6)
    assert len(set(long) & set(other)) == 0 and len(set(first)) > 1
    for stop in {*long}:
        expected = [first[: first.index(stop)] if stop in first else first, other]
        assert continuations(model, [short, long], [6, 6], frozenset({stop})) == expected
    # One row has ended before the other's prompt has: its first token is the stop.
    assert continuations(model, [short, long], [6, 6], frozenset({first[0]}))[0] == ()


def test_each_prompt_has_its_own_budget():
    model = tiny("llama")
    budgets = [1, 5, 3, 4, 2, 6]
    expected = [greedy(model, one, n) for one, n in zip(PROMPTS, budgets, strict=True)]
    assert continuations(model, PROMPTS, budgets, frozenset()) == expected


def test_a_stop_token_ends_its_own_row_only():
    model = tiny("llama")
    whole = [greedy(model, prompt, 8) for prompt in PROMPTS]
    stop = whole[0][3]
    expected = [row[: row.index(stop)] if stop in row else row for row in whole]
    assert continuations(model, PROMPTS, [8] * len(PROMPTS), frozenset({stop})) == expected
    assert len(expected[0]) <= 3 and any(row in whole for row in expected)


def test_the_checkpoints_generation_config_is_ignored():
    model = tiny("llama")
    expected = continuations(model, PROMPTS, [8] * len(PROMPTS), frozenset())
    model.hf.generation_config = GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=9.0, no_repeat_ngram_size=1,
        num_beams=3, min_new_tokens=20, suppress_tokens=[row[0] for row in expected],
        eos_token_id=expected[0][0],
    )  # fmt: skip
    wishes = model.hf.generation_config
    assert continuations(model, PROMPTS, [8] * len(PROMPTS), frozenset()) == expected
    assert model.hf.generation_config is wishes
    # What ends the model's texts is heard, though.
    assert expected[0][0] in stop_tokens(model)
    wishes.eos_token_id = [expected[0][0], 50]
    assert {expected[0][0], 50} <= stop_tokens(model)


def test_special_tokens_stop_and_unknown_words_do_not():
    special = {WORDS.index(word) for word in ("<pad>", "<s>", "</s>")}
    model = tiny("llama")
    assert stop_tokens(model) == special
    model.tokenizer.eos_token = "<unk>"  # as GPT-2's tokenizer has it
    model.hf.generation_config.eos_token_id = None
    assert WORDS.index("<unk>") in stop_tokens(model)


def test_an_answer_ends_where_the_context_does():
    model = tiny("gpt2")
    assert model.hf.config.max_position_embeddings == 64
    (row,) = continuations(model, [(4,) * 60], [200], frozenset())
    assert len(row) == 4
    with pytest.raises(ValueError, match="no room in the model's context of 64"):
        continuations(model, [(4,), (4,) * 64], [200, 200], frozenset())


def test_generating_finds_the_answers_that_teacher_forcing_finds():
    model = taught(FORGET[:6])
    facts = (*FORGET, *FACTS)
    forced = AnswerAccuracy()(model, facts)
    generated = ExactMatch("beginning", max_new_tokens=4)(model, facts)
    assert forced.per_fact["value"].tolist() == generated.per_fact["value"].tolist()
    assert 6 <= forced.count == generated.count < len(facts)
    exact = ExactMatch(max_new_tokens=1)(model, FORGET)  # whose answers are one token
    assert exact.per_fact["value"].tolist() == forced.per_fact["value"].tolist()[: len(FORGET)]
    assert ExactMatch(max_new_tokens=4)(model, facts).count <= generated.count


def spoken(model, facts, count):
    """The same facts with the model's answers in the place of the true ones."""
    given = answers_given(model, facts, "completion", count)
    return tuple(
        replace(fact, answer=text, distractors=()) for fact, text in zip(facts, given, strict=True)
    )


def test_rouge_is_one_against_the_models_answer_and_less_against_the_true_one():
    model = taught(FORGET[:5])
    answered = spoken(model, FORGET, 3)
    for part in ("recall", "f1"):
        score = RougeL(part, max_new_tokens=3)(model, answered)
        assert score.value == 1 and score.metric == f"rouge_l_{part}"
    truth = RougeL(max_new_tokens=3)(model, FORGET)
    assert truth.per_fact["value"].tolist()[:5] == [1.0] * 5
    assert 0.5 <= truth.value < 1
    assert truth.per_fact["generated"].tolist() == [fact.answer for fact in answered]


def test_rouge_excludes_answers_without_words():
    model = tiny("llama")
    model = replace(model, tokenizer=tokenizer())
    model.tokenizer.add_tokens(["東京"])
    model.hf.resize_token_embeddings(len(model.tokenizer))
    score = RougeL(max_new_tokens=2)(model, (*FORGET[:2], Fact("tokyo", "Ann lives in", "東京")))
    assert score.n == 2 and "1 of 3 facts" in score.reason
    assert math.isnan(score.per_fact["value"].iloc[2])


def test_extraction_likelihood_is_the_mean_overlap_over_beginnings():
    model = taught(FORGET[:5])
    facts = spoken(model, FORGET[:3], 5)
    facts = (replace(facts[0], answer="Cairo past go went Oslo"), *facts[1:])
    for n in (1, 2):
        score = ExtractionLikelihood(n)(model, facts)
        for fact, value in zip(facts, score.per_fact["value"], strict=True):
            x = tuple(model.tokenizer(f"{fact.prompt} {fact.answer}")["input_ids"])
            shares = [
                overlap(greedy(model, x[:t], len(x) - t), x[t:], n) for t in range(1, len(x) - n)
            ]
            assert_close(value, sum(shares) / len(shares))
            assert len(shares) == len(x) - 1 - n  # the first token is only read


def test_a_hand_made_continuation():
    """The model continues with "Cairo past go went"; the true text differs at the end."""
    true = Fact("a", "Ann lives in", "Cairo past go went")
    model = taught((true,), steps=80)
    assert answers_given(model, [true], "completion", 4) == ["Cairo past go went"]
    whole = ExtractionLikelihood(2, "answer")
    assert whole(model, [true]).value == 1  # T − n = 2 beginnings, both continue correctly
    changed = replace(true, answer="Cairo past go Oslo")
    # t = 1: (Cairo past)(past go) of three. t = 2, after "Cairo": (past go) of two.
    assert_close(whole(model, [changed]).value, (2 / 3 + 1 / 2) / 2)


def test_a_special_token_does_not_end_an_extraction():
    model = tiny("llama")
    x = (4, 5, 6, 7, 8, 9)
    (written,) = continuations(model, [x[:1]], [5], frozenset())
    model.hf.generation_config.eos_token_id = written[0]
    (again,) = continuations(model, [x[:1]], [5], frozenset())
    assert again == written and len(written) == 5


def test_extraction_likelihood_has_no_value_for_short_texts():
    model = tiny("llama")
    score = ExtractionLikelihood(10)(model, FACTS)
    assert math.isnan(score.value) and score.n == 0
    assert "4 of 4 facts have 10 tokens or fewer" in score.reason
    with pytest.raises(ValueError, match="1 token or more"):
        ExtractionLikelihood(0)


def test_a_multiple_choice_is_the_option_that_the_model_generates_first():
    # A prompt of unknown words: all facts' look the same but for their options and questions.
    model = taught(FORGET[:2], max_position_embeddings=256)
    model.hf.requires_grad_(False)
    score = MultipleChoiceGeneration(max_new_tokens=8)(model, FACTS)
    assert score.chance == 1 / 3
    rows = score.per_fact.itertuples()
    for fact, row in zip(FACTS, rows, strict=True):
        named = [word for word in row.generated.split() if word in (fact.answer, *fact.distractors)]
        if " " not in fact.answer:
            assert row.choice == (named[0] if named else "")
        assert row.value == (row.choice == fact.answer)
    other_form = MultipleChoiceGeneration(max_new_tokens=8)(model, FACTS, "question_answer")
    assert other_form.per_fact.equals(score.per_fact)


def test_a_trained_choice_is_found():
    facts = tuple(
        replace(fact, distractors=(RETAIN[i].answer, RETAIN[i - 1].answer))
        for i, fact in enumerate(FORGET[:4])
    )
    model = taught(facts, form="multiple_choice", steps=60, max_position_embeddings=256)
    score = MultipleChoiceGeneration(max_new_tokens=4)(model, facts)
    assert score.value == 1 and score.per_fact["choice"].tolist() == [f.answer for f in facts]
    swapped = tuple(
        replace(fact, answer=fact.distractors[0], distractors=(fact.answer, fact.distractors[1]))
        for fact in facts
    )
    # The same options in another order, and the model still names the towns.
    assert MultipleChoiceGeneration(max_new_tokens=4)(model, swapped).value < 1


def test_the_tiny_models_have_a_separate_end_token():
    assert tiny("llama").hf.generation_config.eos_token_id == COMMON["eos_token_id"]
