"""Extraction likelihood EL_n (Jang et al., arXiv 2210.01504): what a text's prefixes extract.

EL_n(x) = Σ_{t=1}^{T−n} overlap_n(f(x_<t), x_≥t) / (T − n), with f(x_<t) the greedy continuation (of
the same length as the true one), and overlap_n(a, b) the share of the n-grams of a that occur in b.
Special tokens do not end a continuation here, so that every continuation has n-grams.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from neuronscope.facts.prompts import Encoded
from neuronscope.metrics._answers import Span, spanned
from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._generation import continuations
from neuronscope.metrics._score import Score, mean_score
from neuronscope.models.answers import answers_of
from neuronscope.models.hooked_model import HookedModel


@dataclass(frozen=True)
class ExtractionLikelihood(Metric):
    """Mean share of generated n-grams that occur in the true text, over all prefixes of the text.

    Each token of a text costs one generation.
    """

    generates: ClassVar[bool] = True

    n: int = 10
    """Tokens in an n-gram; 10 as in the paper. A text of n tokens or fewer has no value."""

    span: Span = "text"
    """The whole text of prompt and answer, as in the paper; or only the answer after its prompt."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Expected n-grams of 1 token or more, got n = {self.n}.")

    def measure(self, exam: Exam) -> Score:
        encoded = [spanned(one, self.span) for one in answers_of(exam.model, exam.facts, exam.form)]
        return mean_score(
            f"extraction_likelihood_{self.n}" + ("" if self.span == "text" else "_answer"),
            exam.ids,
            np.array(extraction_likelihoods(exam.model, encoded, self.n)),
            unit="share of n-grams",
            within=(0.0, 1.0),
            direction="lower is more forgotten",
            undefined=f"have {self.n} tokens or fewer; choose a smaller n",
        )


def extraction_likelihoods(model: HookedModel, encoded: Sequence[Encoded], n: int) -> list[float]:
    """EL_n of each text, with the answer's tokens as x; NaN for n tokens or fewer."""
    cuts = [
        (fact, cut)
        for fact, one in enumerate(encoded)
        for cut in range(one.prompt_length, len(one.tokens) - n)
    ]
    if not cuts:
        return [math.nan] * len(encoded)
    prompts = [encoded[fact].tokens[:cut] for fact, cut in cuts]
    true = [encoded[fact].tokens[cut:] for fact, cut in cuts]
    written = continuations(model, prompts, [len(rest) for rest in true], frozenset())
    overlaps: list[list[float]] = [[] for _ in encoded]
    for (fact, _), ours, theirs in zip(cuts, written, true, strict=True):
        overlaps[fact].append(overlap(ours, theirs, n))
    return [float(np.mean(shares)) if shares else math.nan for shares in overlaps]


def overlap(written: Sequence[int], true: Sequence[int], n: int) -> float:
    """Share of the n-grams of one text that occur in the other; NaN if it has none."""
    ours, theirs = _n_grams(written, n), set(_n_grams(true, n))
    return sum(gram in theirs for gram in ours) / len(ours) if ours else math.nan


def _n_grams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]
