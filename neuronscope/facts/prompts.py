"""Tokenize facts: prompt forms, the tokens of the answer, and where distractors diverge from it.

| form | text before the answer |
|---|---|
| `completion` | the prompt |
| `question_answer` | `Question: ...` and `Answer:` |
| `chat` | the prompt as the user's turn, in the tokenizer's chat template |
| `multiple_choice` | the prompt and three options to choose from (as in arXiv 2509.22263) |

Prompt and answer are tokenized jointly, so that the answer's tokens are those the model would see,
without doubled or missing spaces.
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
"""Placeholder that locates the answer in the text of a chat template."""

_NO_SPACE_AFTER = re.compile(r"[(\[{“‘«\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff60]\Z")
"""Opening brackets and quotes, and Chinese and Japanese characters."""


@dataclass(frozen=True)
class Prompt:
    """The text of a fact up to its answer."""

    text: str
    """The text before the answer. A trailing line break is kept, a trailing space is not."""

    gap: str
    """The whitespace between text and answer, tokenized with the answer."""

    complete: bool
    """Whether the text already contains its special tokens, as with a chat template."""


@dataclass(frozen=True)
class Encoded:
    """The tokens of a fact."""

    tokens: tuple[int, ...]
    """Prompt and answer."""

    prompt_length: int
    """Number of prompt tokens."""

    rivals: tuple[tuple[int, int], ...]
    """Where the distractors diverge from the answer: the index of the answer's token, from 0, and
    the distractor's token there, without duplicates."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Facts as tensors, padded on the right."""

    tokens: Int[Tensor, "batch pos"]
    """Prompt, answer, and padding, to which no token before it attends; the padding repeats the
    row's first token."""

    prompt_lengths: Int[Tensor, " batch"]

    lengths: Int[Tensor, " batch"]
    """Number of tokens of prompt and answer."""

    rivals: tuple[tuple[tuple[int, int], ...], ...]
    """`Encoded.rivals` of each row."""

    @staticmethod
    def of(encoded: Sequence[Encoded], device: torch.device | str) -> "Batch":
        """Combine encoded facts into a batch.

        Raises:
            ValueError: If there are no facts.
        """
        if not encoded:
            raise ValueError("Expected at least one fact in a batch, got none.")
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
        """Mask of the answer's tokens."""
        position = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return (position >= self.prompt_lengths[:, None]) & (position < self.lengths[:, None])


def check_encodable(facts: Sequence[Fact], tokenizer: PreTrainedTokenizerBase, form: str) -> None:
    """Encode every fact to detect invalid ones before any computation.

    Raises:
        ValueError: As `encode`, for the first invalid fact.
    """
    for fact in facts:
        encode(fact, tokenizer, form)


def encode(
    fact: Fact, tokenizer: PreTrainedTokenizerBase, form: str, instead: str | None = None
) -> Encoded:
    """Tokenize a fact in a prompt form.

    Special tokens that the tokenizer prepends are kept; those that it appends are dropped.

    Args:
        instead: An answer to use in place of the fact's own; the result then has no rivals.

    Raises:
        ValueError: If the form does not suit the fact or the tokenizer, a token spans prompt and
            answer, tokenization does not preserve the answer, or the tokens of a distractor and of
            the answer never diverge.
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
    """Write a fact's prompt in a prompt form.

    The answer follows after one space, unless the prompt ends with whitespace, an opening bracket
    or a Chinese or Japanese character, or the answer begins with whitespace.

    Raises:
        ValueError: If the form is unknown or does not suit the fact or the tokenizer.
    """
    if form == "completion":
        return _completion(fact.prompt, fact.answer)
    if form == "question_answer":
        return Prompt(f"Question: {fact.prompt.strip()}\nAnswer:", " ", complete=False)
    if form == "chat":
        return _chat(fact, tokenizer)
    if form == "multiple_choice":
        return _multiple_choice(fact)
    raise ValueError(f"No prompt form {quoted(form)}: expected one of {', '.join(PROMPT_FORMS)}.")


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
            f"The chat form needs a chat template, which the tokenizer "
            f"{quoted(tokenizer.name_or_path)} lacks: use question_answer or completion."
        )
    turns = [
        {"role": "user", "content": fact.prompt.strip()},
        {"role": "assistant", "content": _MARK},
    ]
    try:
        # The default date of Llama's templates; the current date would change the prompt.
        text = tokenizer.apply_chat_template(turns, tokenize=False, date_string="26 Jul 2024")
    except TemplateError as error:
        raise ValueError(
            f"Fact {quoted(fact.id)}: the tokenizer's chat template rejects a question with "
            f"its answer ({quoted(str(error))})."
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
            f"{len(fact.distractors)}; add some, or use a different form."
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
    """The special tokens that the tokenizer prepends to a text."""
    bare, full = _tokens(tokenizer, text), tuple(tokenizer(text)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return full[:start]
    raise ValueError(
        f"Fact {quoted(fact.id)}: the tokenizer splits the text differently when it adds special "
        "tokens, so the answer's tokens cannot be identified."
    )


def _prompt_length(
    fact: Fact,
    tokenizer: PreTrainedTokenizerBase,
    prompt: tuple[int, ...],
    tokens: tuple[int, ...],
) -> int:
    """Number of prompt tokens.

    Trailing whitespace that shares a token with the answer counts as part of the answer.
    """
    common = _common(prompt, tokens)
    spanned = cast(str, tokenizer.decode(list(prompt[common:])))
    if spanned.strip():
        raise ValueError(
            f"Fact {quoted(fact.id)}: one token spans the prompt's end {quoted(spanned)} and the "
            f"answer {quoted(fact.answer)}; end the prompt elsewhere."
        )
    if common == 0:
        raise ValueError(f"Fact {quoted(fact.id)}: no token precedes the answer; add a prompt.")
    return common


def _check_survival(
    fact: Fact, tokenizer: PreTrainedTokenizerBase, answer: tuple[int, ...]
) -> None:
    decoded = cast(str, tokenizer.decode(list(answer), clean_up_tokenization_spaces=False)).strip()
    if decoded != fact.answer.strip():
        raise ValueError(
            f"Fact {quoted(fact.id)}: the answer {quoted(fact.answer)} does not survive "
            f"tokenization: it is decoded as {quoted(decoded)}."
        )


def _rival(
    fact: Fact, distractor: str, answer: tuple[int, ...], other: tuple[int, ...]
) -> tuple[int, int]:
    """Where the distractor's tokens diverge from the answer's, and its token there."""
    at = _common(answer, other)
    if at in (len(answer), len(other)):
        raise ValueError(
            f"Fact {quoted(fact.id)}: the distractor {quoted(distractor)} never diverges from the "
            f"answer {quoted(fact.answer)}: the tokens of one are a prefix of the other's."
        )
    return at, other[at]


def _common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common prefix."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length
