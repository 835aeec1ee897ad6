"""Answers behind their prompts, and what a model makes of each of their tokens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.targets import Answers

LARGEST_BATCH = 32
"""Facts in a pass at most."""

LARGEST_LOGITS = 2**27
"""Logits in a pass at most, half a GiB in single precision; one fact may have more."""

Span = Literal["answer", "text"]
"""Which tokens are scored: those of the answer, or all but the first, which nothing predicts."""

Statistic = Callable[[Float[Tensor, "token vocab"], Int[Tensor, " token"]], Float[Tensor, " token"]]
"""One number per token, from the logits that predict it."""


def answers_of(model: HookedModel, facts: Sequence[Fact], form: str) -> list[Encoded]:
    """The facts as tokens, without rivals.

    Raises:
        ValueError: As `encode`.
    """
    return [encode(fact, model.tokenizer, form, fact.answer) for fact in facts]


def options(fact: Fact, form: str) -> tuple[str, ...]:
    """The answer, and what it can be mistaken for: in a multiple choice, what the prompt lists."""
    wrong = fact.distractors[:2] if form == "multiple_choice" else fact.distractors
    return (fact.answer, *wrong)


def guessing(facts: Sequence[Fact], form: str) -> float:
    """Share of the answers that blind choice among the options finds, rounded once."""
    return float(sum(Fraction(1, len(options(fact, form))) for fact in facts) / len(facts))


def spanned(encoded: Encoded, span: Span) -> Encoded:
    """The same tokens, of which those in the span are the answer's."""
    return encoded if span == "answer" else replace(encoded, prompt_length=1)


def per_token(
    model: HookedModel, encoded: Sequence[Encoded], statistic: Statistic
) -> list[Float[np.ndarray, " token"]]:
    """A statistic of every answer token, teacher-forced: one array per fact."""
    kept: dict[int, np.ndarray] = {}
    for group in _groups(encoded, model.vocabulary):
        batch = Batch.of([encoded[i] for i in group], model.device)
        answers = Answers.of(batch)
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
        # Half precision is too coarse for sums of exponentials.
        check_numbers(model, logits)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        values = statistic(logits, answers.token.to(logits.device)).cpu().numpy()
        ends = np.cumsum([_length(encoded[i]) for i in group])
        for i, part in zip(group, np.split(values.astype(np.float64), ends[:-1]), strict=True):
            kept[i] = part
    return [kept[i] for i in range(len(encoded))]


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
    """A statistic of every token of some texts in the place of each fact's answer."""
    words = model.tokenizer
    encoded = [
        encode(fact, words, form, text)
        for fact, of_fact in zip(facts, texts, strict=True)
        for text in of_fact
    ]
    values = iter(per_token(model, encoded, statistic))
    return [[next(values) for _ in of_fact] for of_fact in texts]


def check_numbers(model: HookedModel, logits: Float[Tensor, "token vocab"]) -> None:
    """Refuse a broken model, which would otherwise look like one that has forgotten.

    Raises:
        ValueError: If a logit is NaN.
    """
    if logits.isnan().any():
        raise ValueError(
            f"{model.source}: its logits are not numbers (NaN). Its weights are broken, as by too "
            "high a learning rate: load it anew."
        )


def hits(
    logits: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """1.0 where the token is the most likely one."""
    return (logits.argmax(dim=-1) == token).to(logits.dtype)


def _groups(encoded: Sequence[Encoded], vocabulary: int) -> Iterator[list[int]]:
    """Places of facts that are passed together: of like length, and not too many."""
    group: list[int] = []
    logits = 0
    for i in sorted(range(len(encoded)), key=lambda i: len(encoded[i].tokens)):
        more = _length(encoded[i]) * vocabulary
        if group and (len(group) == LARGEST_BATCH or logits + more > LARGEST_LOGITS):
            yield group
            group, logits = [], 0
        group.append(i)
        logits += more
    yield group


def _length(encoded: Encoded) -> int:
    return len(encoded.tokens) - encoded.prompt_length
