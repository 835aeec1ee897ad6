"""Membership inference: distinguish training facts from unseen ones by a model's losses."""

import zlib
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
from jaxtyping import Float, Int
from scipy import optimize, stats
from torch import Tensor

from neuronscope.analysis.statistics import CONFIDENCE
from neuronscope.facts.fact import Fact
from neuronscope.models.answers import answers_of, per_token
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import log_prob

Attack = Literal["loss", "zlib", "min-k", "min-k++", "reference"]

_NEAR = 1e-12


def strangeness(
    model: HookedModel,
    facts: Sequence[Fact],
    form: str,
    attack: Attack,
    k: float,
    reference: HookedModel | None,
) -> Float[np.ndarray, " fact"]:
    """How little each answer looks like training data to the model: high for a non-member.

    NaN under min-k++ if the model is certain of every next token.
    """
    encoded = answers_of(model, facts, form)
    if attack in ("min-k", "min-k++"):
        columns = per_token(model, encoded, log_prob if attack == "min-k" else standardised)
        return np.array([-lowest_mean(tokens, k) for tokens in columns])
    loss = np.array([-tokens.mean() for tokens in per_token(model, encoded, log_prob)])
    if attack == "zlib":
        return loss / np.array([compressed_bytes(fact.answer.strip()) for fact in facts])
    if attack == "reference":
        assert reference is not None, "the metric declares that it needs a reference"
        theirs = per_token(reference, answers_of(reference, facts, form), log_prob)
        return loss + np.array([tokens.mean() for tokens in theirs])
    return loss


def lowest_mean(values: Float[np.ndarray, " token"], k: float) -> float:
    """Mean of the lowest share k of the values, at least one of them."""
    count = max(1, int(len(values) * k))
    return float(np.sort(values)[:count].mean())


def standardised(
    logits: Float[Tensor, "token vocab"], token: Int[Tensor, " token"]
) -> Float[Tensor, " token"]:
    """(log p − μ)/σ, with μ and σ of log p over the model's next-token distribution.

    Zhang et al., arXiv 2404.02936. NaN if the model is certain of the next token (σ = 0).
    """
    every = logits.log_softmax(dim=-1)
    p = every.exp()
    mean = (p * every).sum(dim=-1)
    deviation = (p * (every - mean[:, None]) ** 2).sum(dim=-1).sqrt()
    return (every.gather(-1, token[:, None]).squeeze(-1) - mean) / deviation


def compressed_bytes(text: str) -> int:
    """Length in bytes of a text compressed with zlib."""
    return len(zlib.compress(text.encode("utf-8")))


def auc(members: Float[np.ndarray, " one"], others: Float[np.ndarray, " other"]) -> float:
    """Probability that a non-member scores above a member; a tie counts half."""
    statistic = stats.mannwhitneyu(others, members).statistic
    return float(statistic) / (len(members) * len(others))


def auc_interval(value: float, members: int, others: int) -> tuple[float, float]:
    """95 % interval of an AUC by inverting its test, like Wilson's for a rate.

    Newcombe 2006 ("Confidence intervals for an effect size measure based on the Mann-Whitney
    statistic. Part 2", Statistics in Medicine 25), method 5. Unlike a bootstrap interval, it
    has positive width even if the two sets are perfectly separated.
    """
    quantile = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    each = (members + others) / 2 - 1

    def excess(theta: float) -> float:
        shape = 1 + each * (1 - theta) / (2 - theta) + each * theta / (1 + theta)
        variance = theta * (1 - theta) * shape / (members * others)
        return (theta - value) ** 2 - quantile**2 * variance

    # At 0 and 1 the variance is 0, and the excess has a root that is not an end of the interval.
    inside = min(max(value, _NEAR), 1 - _NEAR)
    low = 0.0 if value == 0 else optimize.brentq(excess, 0, inside)
    high = 1.0 if value == 1 else optimize.brentq(excess, inside, 1)
    return cast(float, low), cast(float, high)
