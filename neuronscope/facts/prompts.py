"""From facts to tokens: how a fact is asked, which tokens are its answer, where rivals depart.

| form | what the model reads before the answer |
|---|---|
| `completion` | the prompt |
| `question_answer` | `Question: ...` and `Answer:` |
| `chat` | the prompt as the user's turn, in the tokenizer's chat template |
| `multiple_choice` | the prompt, and three options to choose from (as in arXiv 2509.22263) |

Prompt and answer are tokenized together, so the answer's tokens are those that the model would see:
no space is doubled, and none is lost.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import cast

import torch
from jaxtyping import Bool, Int
from jinja2 import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from neuronscope.facts.fact import Fact, quoted

PROMPT_FORMS = ("completion", "question_answer", "chat", "multiple_choice")

_MARK = "\u2042answer\u2042"
"""Stands in for the answer while a chat template is asked where it puts it."""

_NO_SPACE_AFTER = re.compile(r"[(\[{“‘«\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff60]\Z")
"""Opening brackets and quotes, and the characters of Chinese and Japanese."""


@dataclass(frozen=True)
class Prompt:
    """A fact as text."""

    text: str
    """What the model reads before the answer. A line break at its end stays, a space does not."""

    gap: str
    """The whitespace between the text and the answer. It is tokenized with the answer."""

    complete: bool
    """Whether the text has its special tokens already, as a chat template writes them."""


@dataclass(frozen=True)
class Encoded:
    """A fact as tokens."""

    tokens: tuple[int, ...]
    """Prompt and answer."""

    prompt_length: int
    """How many of the tokens are the prompt's."""

    rivals: tuple[tuple[int, int], ...]
    """Where distractors depart from the answer: its step, from 0, and their token there. Once each,
    however many distractors depart alike."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Facts as tensors, always padded on the right."""

    tokens: Int[Tensor, "batch pos"]
    """Prompt and answer; then padding, the row's first token: causal attention never reads it."""

    prompt_lengths: Int[Tensor, " batch"]

    lengths: Int[Tensor, " batch"]
    """Of prompt and answer together."""

    rivals: tuple[tuple[tuple[int, int], ...], ...]
    """As in `Encoded`, per row."""

    @staticmethod
    def of(encoded: Sequence[Encoded], device: torch.device | str) -> "Batch":
        """Put facts together.

        Raises:
            ValueError: If there are none.
        """
        if not encoded:
            raise ValueError("Expected at least one fact to make a batch of, got none.")
        longest = max(len(one.tokens) for one in encoded)
        padded = [one.tokens + one.tokens[:1] * (longest - len(one.tokens)) for one in encoded]
        return Batch(
            tokens=torch.tensor(padded, device=device),
            prompt_lengths=torch.tensor([one.prompt_length for one in encoded], device=device),
            lengths=torch.tensor([len(one.tokens) for one in encoded], device=device),
            rivals=tuple(one.rivals for one in encoded),
        )

    @property
    def answer_mask(self) -> Bool[Tensor, "batch pos"]:
        """Marks the answer's tokens."""
        position = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (position >= self.prompt_lengths[:, None]) & (position < self.lengths[:, None])


def check_encodable(facts: Sequence[Fact], tokenizer: PreTrainedTokenizerBase, form: str) -> None:
    """Encode every fact, so that one that cannot be is found before anything is computed.

    Raises:
        ValueError: As `encode`, of the first such fact.
    """
    for fact in facts:
        encode(fact, tokenizer, form)


def encode(
    fact: Fact, tokenizer: PreTrainedTokenizerBase, form: str, instead: str | None = None
) -> Encoded:
    """A fact's tokens in a prompt form.

    Special tokens that the tokenizer puts first are kept; those that it puts last are left out.

    Args:
        instead: An answer to take the place of the fact's own behind the same prompt, without
            rivals.

    Raises:
        ValueError: If the form does not suit the fact or the tokenizer, a token straddles prompt
            and answer, the answer does not survive tokenization, or a distractor cannot be told
            from the answer by any of the answer's tokens.
    """
    prompt = write_prompt(fact, tokenizer, form)
    if instead is not None:
        fact = replace(fact, answer=instead, distractors=())
    start = prompt.text + prompt.gap
    first = () if prompt.complete else _first_special(fact, tokenizer, start + fact.answer.strip())
    tokens = first + _tokens(tokenizer, start + fact.answer.strip())
    prompt_length = _prompt_length(fact, tokenizer, first + _tokens(tokenizer, prompt.text), tokens)
    _check_survival(fact, tokenizer, tokens[prompt_length:])
    rivals = [
        _rival(fact, distractor, tokens, first + _tokens(tokenizer, start + distractor.strip()))
        for distractor in fact.distractors
    ]
    steps = [(at - prompt_length, token) for at, token in dict.fromkeys(rivals)]
    return Encoded(tokens, prompt_length, tuple(steps))


def write_prompt(fact: Fact, tokenizer: PreTrainedTokenizerBase, form: str) -> Prompt:
    """A fact's prompt as text.

    The answer follows after one space, unless the prompt ends or the answer begins with whitespace
    of its own, or the prompt ends with an opening bracket or in Chinese or Japanese.

    Raises:
        ValueError: If there is no such form, or it does not suit the fact or the tokenizer.
    """
    if form == "completion":
        return _completion(fact.prompt, fact.answer)
    if form == "question_answer":
        return Prompt(f"Question: {fact.prompt.strip()}\nAnswer:", " ", complete=False)
    if form == "chat":
        return _chat(fact, tokenizer)
    if form == "multiple_choice":
        return _multiple_choice(fact)
    raise ValueError(f"No prompt form {quoted(form)}: there are {', '.join(PROMPT_FORMS)}.")


def _completion(prompt: str, answer: str) -> Prompt:
    text = prompt.rstrip()
    space = prompt[len(text) :]
    line_end = space.rfind("\n") + 1
    text, gap = text + space[:line_end], space[line_end:]
    if not space and not _NO_SPACE_AFTER.search(text):
        gap = answer[: len(answer) - len(answer.lstrip())] or " "
    return Prompt(text, gap, complete=False)


def _chat(fact: Fact, tokenizer: PreTrainedTokenizerBase) -> Prompt:
    if tokenizer.chat_template is None:
        raise ValueError(
            f"The chat form needs a chat template, and the tokenizer "
            f"{quoted(tokenizer.name_or_path)} has none: use question_answer or completion."
        )
    turns = [
        {"role": "user", "content": fact.prompt.strip()},
        {"role": "assistant", "content": _MARK},
    ]
    try:
        # The date is the one that Llama's templates fall back to: today's would change the prompt.
        text = tokenizer.apply_chat_template(turns, tokenize=False, date_string="26 Jul 2024")
    except TemplateError as error:
        raise ValueError(
            f"Fact {quoted(fact.id)}: the tokenizer's chat template refuses a question and its "
            f"answer ({quoted(str(error))})."
        ) from None
    before, *after = cast(str, text).split(_MARK)
    if len(after) != 1:
        raise ValueError(
            f"The tokenizer's chat template writes the assistant's answer {len(after)} times, "
            "expected once: use question_answer or completion."
        )
    start = before.rstrip(" ")
    return Prompt(start, before[len(start) :], complete=True)


def _multiple_choice(fact: Fact) -> Prompt:
    if len(fact.distractors) < 2:
        raise ValueError(
            f"Fact {quoted(fact.id)}: the multiple_choice form needs two distractors, got "
            f"{len(fact.distractors)}; add them, or use another form."
        )
    options = [text.strip() for text in (fact.answer, *fact.distractors[:2])]
    orders = list(permutations(options))
    order = orders[hashlib.sha256(fact.id.encode()).digest()[0] % len(orders)]
    return Prompt(
        "Choose the option that answers the question. Write that option alone, word for word, "
        f"and explain nothing.\nQuestion: {fact.prompt.strip()}\nOptions: {'; '.join(order)}\n"
        "Your Answer:",
        " ",
        complete=False,
    )


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _first_special(fact: Fact, tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """The special tokens that the tokenizer puts before a text."""
    bare, dressed = _tokens(tokenizer, text), tuple(tokenizer(text)["input_ids"])
    for start in range(len(dressed) - len(bare) + 1):
        if dressed[start : start + len(bare)] == bare:
            return dressed[:start]
    raise ValueError(
        f"Fact {quoted(fact.id)}: the tokenizer reads the text differently when it adds its "
        "special tokens, so that the answer's tokens cannot be told from the others."
    )


def _prompt_length(
    fact: Fact,
    tokenizer: PreTrainedTokenizerBase,
    prompt: tuple[int, ...],
    tokens: tuple[int, ...],
) -> int:
    """How many of the tokens are the prompt's.

    Whitespace at its end that shares a token with the answer counts as the answer's.
    """
    common = _common(prompt, tokens)
    straddled = cast(str, tokenizer.decode(list(prompt[common:])))
    if straddled.strip():
        raise ValueError(
            f"Fact {quoted(fact.id)}: one token straddles the prompt's end {quoted(straddled)} "
            f"and the answer {quoted(fact.answer)}; let the prompt end elsewhere."
        )
    if common == 0:
        raise ValueError(
            f"Fact {quoted(fact.id)}: no token stands before the answer to predict it from; "
            "give it a prompt."
        )
    return common


def _check_survival(
    fact: Fact, tokenizer: PreTrainedTokenizerBase, answer: tuple[int, ...]
) -> None:
    back = cast(str, tokenizer.decode(list(answer), clean_up_tokenization_spaces=False)).strip()
    if back != fact.answer.strip():
        raise ValueError(
            f"Fact {quoted(fact.id)}: the answer {quoted(fact.answer)} does not survive "
            f"tokenization, it comes back as {quoted(back)}."
        )


def _rival(
    fact: Fact, distractor: str, answer: tuple[int, ...], other: tuple[int, ...]
) -> tuple[int, int]:
    """Where the distractor's tokens depart from the answer's, and its token there."""
    at = _common(answer, other)
    if at in (len(answer), len(other)):
        raise ValueError(
            f"Fact {quoted(fact.id)}: the distractor {quoted(distractor)} never departs from the "
            f"answer {quoted(fact.answer)}: the tokens of one begin the other's."
        )
    return at, other[at]


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common beginning."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length
