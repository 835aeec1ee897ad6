"""Measure a model's answers: whether they are given, the target, and statistics of each token."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits, frozen
from neuronscope.models.targets import Answers, Target, answered

LARGEST_BATCH = 32
"""Maximum number of facts in a forward pass."""

LARGEST_LOGITS = 2**27
"""Maximum number of logits in a forward pass (half a GiB in single precision); a single fact may
exceed it."""

Statistic = Callable[[Float[Tensor, "token vocab"], Int[Tensor, " token"]], Float[Tensor, " token"]]
"""A function of the logits that predict some tokens, and of the tokens: one number per token."""


class NaNLogitsError(ValueError):
    """The logits of a model are NaN."""


@dataclass(frozen=True)
class Measured:
    """A model's answers to facts, in the order of the facts."""

    score: Float[np.ndarray, " fact"]
    """The target's value for each fact."""

    answered: Bool[np.ndarray, " fact"]
    """Whether greedy decoding produces the answer."""


def answers_of(
    model: HookedModel, facts: Sequence[Fact], form: str = "completion"
) -> list[Encoded]:
    """Tokenize facts and their answers, without distractors.

    Args:
        form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.

    Raises:
        ValueError: As `encode`.
    """
    return [encode(fact, model.tokenizer, form, fact.answer) for fact in facts]


def measure(
    model: HookedModel,
    encoded: Sequence[Encoded],
    target: Target | None = None,
    chosen: Bool[np.ndarray, " fact"] | None = None,
) -> Measured:
    """Measure whether a model answers each fact, and the target of each answer.

    Args:
        target: By default, the mean log-odds of the answer's tokens.
        chosen: Measure only these facts; the others get a NaN score and count as not answered.

    Raises:
        ValueError: If a logit is NaN.
    """
    target = target or Target()
    score = np.full(len(encoded), np.nan)
    given = np.zeros(len(encoded), dtype=bool)
    with frozen(model), torch.no_grad():
        for places, answers, logits in _passes(model, encoded, chosen):
            score[places] = target(logits, answers).double().cpu().numpy()
            given[places] = answered(logits, answers).cpu().numpy() > 0
    return Measured(score, given)


def per_token(
    model: HookedModel, encoded: Sequence[Encoded], statistic: Statistic
) -> list[Float[np.ndarray, " token"]]:
    """Compute a statistic of every answer token under teacher forcing: one array per fact.

    Raises:
        ValueError: If a logit is NaN.
    """
    kept: dict[int, np.ndarray] = {}
    with frozen(model), torch.no_grad():
        for places, answers, logits in _passes(model, encoded, None):
            # Half precision is too coarse for sums of exponentials.
            logits = logits if logits.dtype == torch.float64 else logits.float()
            values = statistic(logits, answers.token.to(logits.device)).cpu().numpy()
            ends = np.cumsum([_length(encoded[i]) for i in places])
            parts = np.split(values.astype(np.float64), ends[:-1])
            kept |= zip(places, parts, strict=True)
    return [kept[i] for i in range(len(encoded))]


def batches_of(
    model: HookedModel,
    encoded: Sequence[Encoded],
    chosen: Bool[np.ndarray, " fact"] | None = None,
) -> Iterator[tuple[list[int], Batch]]:
    """Batches of facts of similar length, each with the indices of its facts.

    Args:
        chosen: Include only these facts.
    """
    for group in groups(encoded, model.vocabulary, chosen):
        yield group, Batch.of([encoded[i] for i in group], model.device)


def groups(
    encoded: Sequence[Encoded], vocabulary: int, chosen: Bool[np.ndarray, " fact"] | None = None
) -> Iterator[list[int]]:
    """Indices of the facts of each forward pass: of similar length, and within the limits above.

    Args:
        vocabulary: Number of logits per answer token.
        chosen: Include only these facts.
    """
    group: list[int] = []
    logits = 0
    wanted = (i for i in range(len(encoded)) if chosen is None or chosen[i])
    for i in sorted(wanted, key=lambda i: (len(encoded[i].tokens), i)):
        more = _length(encoded[i]) * vocabulary
        if group and (len(group) == LARGEST_BATCH or logits + more > LARGEST_LOGITS):
            yield group
            group, logits = [], 0
        group.append(i)
        logits += more
    if group:
        yield group


def check_numbers(model: HookedModel, logits: Float[Tensor, "token vocab"]) -> None:
    """Reject a broken model, which would otherwise look like one that has forgotten.

    Raises:
        NaNLogitsError: If a logit is NaN.
    """
    if logits.isnan().any():
        raise NaNLogitsError(
            f"{model.source}: its logits are NaN. Its weights are broken, for example by too high "
            "a learning rate; load the model again."
        )


def _passes(
    model: HookedModel, encoded: Sequence[Encoded], chosen: Bool[np.ndarray, " fact"] | None
) -> Iterator[tuple[list[int], Answers, Float[Tensor, "token vocab"]]]:
    """Run the forward passes; yield the facts' indices, answers, and logits that predict these."""
    for places, batch in batches_of(model, encoded, chosen):
        answers = Answers.of(batch)
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
        check_numbers(model, logits)
        yield places, answers, logits


def _length(encoded: Encoded) -> int:
    return len(encoded.tokens) - encoded.prompt_length
