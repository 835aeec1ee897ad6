from dataclasses import replace

import pytest
from tiny_tokenizers import BRACKETS, FACTS, TOKENIZERS, byte_bpe, split_text, squeezed, wrap

from neuronscope.facts.prompts import encode, write_prompt

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
THINKING = CHATML.replace(
    "\n{{ m.content | trim }}",
    "\n{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content | trim }}",
)


@pytest.mark.parametrize("template", [CHATML, THINKING, BRACKETS])
@pytest.mark.parametrize(
    "name",
    [
        "byte-level BPE",
        "begins with BOS",
        "ends with EOS",
        "Unigram with Metaspace",
        "Llama's layout, begins with BOS",
    ],
)
def test_the_chat_form_is_the_templates_own_conversation_up_to_the_answers_end(name, template):
    tokenizer = wrap(
        TOKENIZERS[name].backend_tokenizer,
        chat_template=template,
        bos_token="<s>",
        eos_token="</s>",
    )
    for fact in (FACTS[0], replace(FACTS[0], answer="end", distractors=())):
        turns = [
            {"role": "user", "content": fact.prompt},
            {"role": "assistant", "content": fact.answer},
        ]
        encoded = encode(fact, tokenizer, "chat")
        whole = tokenizer.apply_chat_template(turns)["input_ids"]
        assert list(encoded.tokens) == whole[: len(encoded.tokens)]
        text = tokenizer.apply_chat_template(turns, tokenize=False)
        before, answer = split_text(tokenizer, encoded)
        assert answer.strip() == fact.answer
        shown = text[: text.rindex(fact.answer, 0, text.rindex("<")) + len(fact.answer)]
        assert squeezed(before + answer) == squeezed(shown)


def test_the_chat_form_ends_where_the_model_would_answer():
    tokenizer = wrap(byte_bpe(), chat_template=CHATML)
    encoded = encode(FACTS[0], tokenizer, "chat")
    generation = tokenizer.apply_chat_template(
        [{"role": "user", "content": FACTS[0].prompt}], add_generation_prompt=True
    )["input_ids"]
    assert list(encoded.tokens[: encoded.prompt_length]) == generation


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "The chat form needs a chat template, which the tokenizer '' lacks"),
        ("{{ raise_exception('no\nroles') }}", r"Fact 'france': .* rejects .* \('no\\nroles'\)"),
        ("{{ messages[0].content }}", "writes the assistant's answer 0 times, expected once"),
        ("{{ messages[1].content * 2 }}", "writes the assistant's answer 2 times, expected once"),
    ],
)
def test_a_template_that_cannot_hold_the_answer_is_refused(template, message):
    with pytest.raises(ValueError, match=message) as error:
        encode(FACTS[0], wrap(byte_bpe(), chat_template=template), "chat")
    assert str(error.value).isprintable()


def test_a_templates_date_does_not_change_the_prompt():
    dated = "Today: {{ date_string if date_string is defined else strftime_now('%c') }}\n" + CHATML
    text = write_prompt(FACTS[0], wrap(byte_bpe(), chat_template=dated), "chat").text
    assert text.startswith("Today: 26 Jul 2024\n<|user|>")
