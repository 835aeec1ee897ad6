"""Perplexity on plain text: exp of the mean negative log-likelihood per token.

The mean is over all tokens of all texts but the first token of each. A text longer than the window
is cut into pieces that overlap by one token, so that each token is predicted once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from neuronscope.facts.prompts import Encoded
from neuronscope.metrics._answers import spanned
from neuronscope.metrics._base import Exam, Metric
from neuronscope.metrics._score import Score, per_fact, percentile_interval
from neuronscope.models.answers import answers_of, per_token
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import log_prob


@dataclass(frozen=True)
class Perplexity(Metric):
    """Perplexity of the facts' texts, or of documents.

    For documents call `of_texts`.
    """

    window: int = 1024
    """Maximum number of tokens of a document in one forward pass."""

    def __post_init__(self) -> None:
        if self.window < 2:
            raise ValueError(f"Expected a window of 2 tokens or more, got {self.window}.")

    def measure(self, exam: Exam) -> Score:
        encoded = answers_of(exam.model, exam.facts, exam.form)
        pieces = [[spanned(one, "text")] for one in encoded]
        return _scored(exam.model, exam.ids, pieces)

    def of_texts(self, model: HookedModel, texts: Sequence[str]) -> Score:
        """Score a model on documents; the score's table names them by their index, from 0.

        Raises:
            ValueError: If there are no texts, or one has fewer than two tokens.
        """
        if not texts:
            raise ValueError("Expected at least one text, got none.")
        tokens = [tuple(model.tokenizer(text)["input_ids"]) for text in texts]
        short = [place for place, one in enumerate(tokens) if len(one) < 2]
        if short:
            raise ValueError(
                f"Expected texts of two tokens or more, got a shorter one at index {short[0]}."
            )
        ids = [str(place) for place in range(len(texts))]
        return _scored(model, ids, [windows(one, self.window) for one in tokens])


def windows(tokens: tuple[int, ...], window: int) -> list[Encoded]:
    """Pieces of a text in which each token but the first is predicted exactly once."""
    starts = range(0, len(tokens) - 1, window - 1)
    return [Encoded(tokens[start : start + window], 1, ()) for start in starts]


def perplexity(
    nats: Float[np.ndarray, "*redraw text"], tokens: Float[np.ndarray, "*redraw text"]
) -> Float[np.ndarray, "*redraw"]:
    """Exp of the total negative log-likelihood divided by the total number of tokens.

    Args:
        nats: Negative log-likelihood of each text.
        tokens: Number of predicted tokens of each text.
    """
    return np.asarray(np.exp(nats.sum(axis=-1) / tokens.sum(axis=-1)))


def _scored(model: HookedModel, ids: list[str], texts: list[list[Encoded]]) -> Score:
    values = iter(per_token(model, [piece for pieces in texts for piece in pieces], log_prob))
    columns = [np.concatenate([next(values) for _ in pieces]) for pieces in texts]
    nats = np.array([-column.sum() for column in columns])
    tokens = np.array([float(len(column)) for column in columns])
    return Score(
        metric="perplexity",
        value=float(perplexity(nats, tokens)),
        ci95=percentile_interval([nats, tokens], _of_redraws, paired=True),
        n=len(ids),
        count=None,
        unit="perplexity",
        direction="lower is more useful",
        chance=float(model.vocabulary),
        per_fact=per_fact(
            ids,
            np.exp(nats / tokens),
            {"nats": nats.tolist(), "tokens": tokens.astype(int).tolist()},
        ),
        figures={"nats_per_token": float(nats.sum() / tokens.sum()), "tokens": tokens.sum()},
    )


def _of_redraws(*drawn: np.ndarray, axis: int) -> np.ndarray:
    del axis  # the last
    return perplexity(*drawn)
