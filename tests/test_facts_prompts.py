from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_tokenizers import (
    BRACKETS,
    FACTS,
    TOKENIZERS,
    byte_bpe,
    split_text,
    squeezed,
    word_level,
    wrap,
)
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerBase

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import (
    PROMPT_FORMS,
    Batch,
    Encoded,
    check_encodable,
    encode,
    write_prompt,
)

FORMS = [form for form in PROMPT_FORMS if form != "chat"]

BPE = TOKENIZERS["byte-level BPE"]


@pytest.fixture(params=TOKENIZERS.values(), ids=TOKENIZERS)
def tokenizer(request) -> PreTrainedTokenizerBase:
    return request.param


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fact", FACTS, ids=[fact.id for fact in FACTS])
def test_the_tokens_are_those_of_the_joint_text_without_final_special_tokens(tokenizer, form, fact):
    prompt = write_prompt(fact, tokenizer, form)
    encoded = encode(fact, tokenizer, form)
    joint = tokenizer(prompt.text + prompt.gap + fact.answer)["input_ids"]
    if joint[-1] in (tokenizer.convert_tokens_to_ids("</s>"), tokenizer.eos_token_id):
        joint = joint[:-1]
    assert list(encoded.tokens) == joint
    before, answer = split_text(tokenizer, encoded)
    assert answer.strip() == fact.answer
    assert not before.endswith(" ") and squeezed(before).endswith(squeezed(prompt.text))


def test_the_first_special_token_is_kept_and_the_last_is_not():
    bare = encode(FACTS[0], BPE, "completion")
    for name, start in (("begins with BOS", (0,)), ("ends with EOS", ())):
        encoded = encode(FACTS[0], TOKENIZERS[name], "completion")
        assert encoded.tokens == start + bare.tokens
        assert encoded.prompt_length == len(start) + bare.prompt_length
        assert encoded.rivals == bare.rivals


def test_whitespace_between_prompt_and_answer_counts_once(tokenizer):
    plain = FACTS[0]
    expected = encode(plain, tokenizer, "completion")
    for prompt, answer in [(plain.prompt + " ", "Paris"), (plain.prompt, " Paris"),
                           (plain.prompt + " ", " Paris "), (plain.prompt, "Paris\n")]:  # fmt: skip
        spaced = replace(plain, prompt=prompt, answer=answer)
        assert encode(spaced, tokenizer, "completion") == expected


def test_a_space_is_neither_doubled_nor_lost_before_the_answer():
    ids = {
        name: encode(FACTS[0], tokenizer, "completion") for name, tokenizer in TOKENIZERS.items()
    }
    unigram_text = TOKENIZERS["Unigram with Metaspace"].convert_ids_to_tokens(
        list(ids["Unigram with Metaspace"].tokens)
    )
    assert "".join(unigram_text) == "▁the▁capital▁city▁of▁France▁is▁called▁Paris"
    bpe_text = BPE.convert_ids_to_tokens(list(ids["byte-level BPE"].tokens))
    assert "".join(bpe_text) == "theĠcapitalĠcityĠofĠFranceĠisĠcalledĠParis"


def test_a_separate_space_token_belongs_to_the_answer_in_every_form():
    words = byte_bpe()
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer = wrap(words, chat_template=BRACKETS)
    for form in PROMPT_FORMS:
        encoded = encode(FACTS[2], tokenizer, form)
        assert tokenizer.convert_ids_to_tokens(list(encoded.tokens[-2:])) == ["Ġ", "3"]
        assert encoded.prompt_length == len(encoded.tokens) - 2


def test_a_line_break_at_the_prompts_end_belongs_to_the_prompt():
    fact = replace(FACTS[0], prompt="The answer:\n")
    prompt, answer = split_text(BPE, encode(fact, BPE, "completion"))
    assert (prompt, answer) == ("The answer:\n", "Paris")


@pytest.mark.parametrize("end", ["(", "“", "首都是", "答案："])
def test_no_space_is_put_after_an_opening_bracket_or_in_chinese(end):
    fact = Fact("x", f"Spain {end}", "马德里" if end[-1] > "一" else "Madrid")
    prompt, answer = split_text(BPE, encode(fact, BPE, "completion"))
    assert (prompt, answer) == (fact.prompt, fact.answer)


def test_a_token_that_spans_prompt_and_answer_is_refused():
    merging = wrap(byte_bpe(regex=False, corpus=["北京"] * 5))
    assert len(merging("北京")["input_ids"]) == 1
    with pytest.raises(ValueError, match="Fact 'x': one token spans the prompt's end '北' and the"):
        encode(Fact("x", "去北", "京"), merging, "completion")


def test_a_line_break_merged_with_the_answer_belongs_to_the_answer():
    merging = wrap(byte_bpe(regex=False, corpus=["\nParis"] * 5 + ["It: "]))
    assert len(merging("\nParis")["input_ids"]) == 1
    encoded = encode(Fact("x", "It:\n", "Paris"), merging, "completion")
    assert split_text(merging, encoded) == ("It:", "\nParis")
    assert list(encoded.tokens) == merging("It:\nParis")["input_ids"]


def test_an_answer_that_does_not_survive_tokenization_is_refused():
    words = word_level("<unk>", "it", "is", "rome")
    assert encode(Fact("x", "it is", "rome"), words, "completion").tokens == (1, 2, 3)
    with pytest.raises(ValueError, match=r"Fact 'x': the answer 'Rome' does not survive .*'<unk>'"):
        encode(Fact("x", "it is", "Rome"), words, "completion")


def test_an_empty_prompt_needs_a_tokenizer_with_an_initial_token():
    bare, begun = BPE, TOKENIZERS["begins with BOS"]
    fact = Fact("x", "", "Paris")
    assert encode(fact, begun, "completion").prompt_length == 1
    with pytest.raises(ValueError, match="Fact 'x': no token precedes the answer"):
        encode(fact, bare, "completion")


WORDS = word_level("<unk>", "capital", "is", "new", "delhi", "york", "city", "rome")


def test_rivals_are_where_distractors_diverge():
    fact = Fact("x", "capital is", "new delhi", ("rome", "new york", "new york city", "delhi"))
    encoded = encode(fact, WORDS, "completion")
    assert encoded.tokens == (1, 2, 3, 4)
    assert encoded.prompt_length == 2
    assert encoded.rivals == ((0, 7), (1, 5), (0, 4))


@pytest.mark.parametrize("distractor", ["new", "new delhi", "new delhi city"])
def test_a_distractor_that_never_diverges_is_refused(distractor):
    with pytest.raises(ValueError, match=f"Fact 'x': the distractor '{distractor}' never diverges"):
        encode(Fact("x", "capital is", "new delhi", (distractor,)), WORDS, "completion")


def test_answer_tokens_up_to_a_rivals_step_and_its_token_begin_the_distractor(tokenizer):
    for fact in FACTS:
        encoded = encode(fact, tokenizer, "completion")
        for distractor in fact.distractors:
            other = encode(
                replace(fact, answer=distractor, distractors=()), tokenizer, "completion"
            )
            (step, token), *_ = [
                (step, token)
                for step, token in encoded.rivals
                if other.tokens[: encoded.prompt_length + step + 1]
                == (*encoded.tokens[: encoded.prompt_length + step], token)
            ]
            assert token != encoded.tokens[encoded.prompt_length + step]


def test_the_options_are_the_answer_and_two_distractors_in_an_order_fixed_per_fact():
    orders = set()
    for n in range(40):
        fact = replace(FACTS[1], id=f"fact {n}")
        lines = write_prompt(fact, BPE, "multiple_choice").text.split("\n")
        assert lines[1] == "Question: what is the capital of India?"
        assert lines[3] == "Your Answer:"
        orders.add(lines[2])
        options = lines[2].removeprefix("Options: ").split("; ")
        assert sorted(options) == ["Lima", "New Delhi", "New York"]
        other = replace(fact, prompt="where?")
        assert write_prompt(other, BPE, "multiple_choice").text.split("\n")[2] == lines[2]
    assert len(orders) == 6


def test_multiple_choice_needs_two_distractors():
    with pytest.raises(ValueError, match="Fact 'france': the multiple_choice form needs two distr"):
        encode(replace(FACTS[0], distractors=("Rome",)), BPE, "multiple_choice")


def test_an_unknown_form_is_refused_and_the_known_ones_are_listed():
    with pytest.raises(ValueError, match=r"No prompt form 'poem': .* completion, question_an"):
        encode(FACTS[0], BPE, "poem")


def test_one_fact_that_cannot_be_encoded_is_found_among_many():
    check_encodable(FACTS, BPE, "completion")
    with pytest.raises(ValueError, match="Fact 'bad'"):
        check_encodable((*FACTS, Fact("bad", "it is", "A", ("A b",))), BPE, "completion")


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(TOKENIZERS)),
    st.text(max_size=20).filter(str.strip),
    st.text(max_size=12).filter(str.strip),
)
def test_any_text_is_encoded_faithfully_or_refused_naming_the_fact(name, prompt, answer):
    fact, tokenizer = Fact("x", prompt, answer), TOKENIZERS[name]
    try:
        encoded = encode(fact, tokenizer, "completion")
    except ValueError as error:
        assert str(error).startswith("Fact 'x': ") and str(error).isprintable()
        return
    assert split_text(tokenizer, encoded)[1].strip() == answer.strip()
    text = write_prompt(fact, tokenizer, "completion")
    joint = tokenizer(text.text + text.gap + answer.strip())["input_ids"]
    assert list(encoded.tokens) == joint[: len(encoded.tokens)]
    assert 0 < encoded.prompt_length < len(encoded.tokens) >= len(joint) - 1


def test_a_batch_is_padded_on_the_right():
    batch = Batch.of([Encoded((5, 6, 7, 8), 2, ((0, 9),)), Encoded((3, 4), 1, ())], "cpu")
    assert batch.tokens.tolist() == [[5, 6, 7, 8], [3, 4, 3, 3]]
    assert batch.answer_mask.tolist() == [[False, False, True, True], [False, True, False, False]]
    assert batch.prompt_lengths.tolist() == [2, 1] and batch.lengths.tolist() == [4, 2]
    assert batch.rivals == (((0, 9),), ())
    assert batch.tokens.dtype == torch.int64


def test_a_batch_holds_each_facts_tokens_and_marks_its_answer(tokenizer):
    encoded = [encode(fact, tokenizer, "question_answer") for fact in FACTS]
    batch = Batch.of(encoded, torch.device("cpu"))
    for row, one in enumerate(encoded):
        assert tuple(batch.tokens[row, : len(one.tokens)].tolist()) == one.tokens
        marked = batch.tokens[row][batch.answer_mask[row]]
        assert tuple(marked.tolist()) == one.tokens[one.prompt_length :]
        assert (batch.tokens[row, len(one.tokens) :] == one.tokens[0]).all()


def test_the_tokenizers_padding_side_has_no_effect():
    left = TOKENIZERS["padding on the left"]
    for form in FORMS:
        assert [encode(f, left, form) for f in FACTS] == [encode(f, BPE, form) for f in FACTS]


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="at least one fact"):
        Batch.of([], "cpu")
