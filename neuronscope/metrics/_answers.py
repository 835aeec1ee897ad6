"""The alternatives to a fact's answer, and statistics of their tokens."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Encoded, encode
from neuronscope.models.answers import Statistic, per_token
from neuronscope.models.hooked_model import HookedModel

Span = Literal["answer", "text"]
"""Which tokens are scored: the answer's, or the whole text's except the first."""


def options(fact: Fact, form: str) -> tuple[str, ...]:
    """The answer, then its distractors; for a multiple choice, those that the prompt lists."""
    wrong = fact.distractors[:2] if form == "multiple_choice" else fact.distractors
    return (fact.answer, *wrong)


def guessing(facts: Sequence[Fact], form: str) -> float:
    """Expected share of right answers when guessing among the options; rounded only at the end."""
    return float(sum(Fraction(1, len(options(fact, form))) for fact in facts) / len(facts))


def spanned(encoded: Encoded, span: Span) -> Encoded:
    """The same tokens, with those in the span marked as the answer."""
    return encoded if span == "answer" else replace(encoded, prompt_length=1)


def per_option(
    model: HookedModel, facts: Sequence[Fact], form: str, statistic: Statistic
) -> list[list[Float[np.ndarray, " token"]]]:
    """A statistic of every token of each fact's options, the answer first."""
    return per_text(model, facts, [options(fact, form) for fact in facts], form, statistic)


def per_text(
    model: HookedModel,
    facts: Sequence[Fact],
    texts: Sequence[Sequence[str]],
    form: str,
    statistic: Statistic,
) -> list[list[Float[np.ndarray, " token"]]]:
    """A statistic of every token of the texts that replace each fact's answer."""
    encoded = [
        encode(fact, model.tokenizer, form, text)
        for fact, of_fact in zip(facts, texts, strict=True)
        for text in of_fact
    ]
    values = iter(per_token(model, encoded, statistic))
    return [[next(values) for _ in of_fact] for of_fact in texts]


def hits(
    logits: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """1.0 where the token is the most likely one."""
    return (logits.argmax(dim=-1) == token).to(logits.dtype)
