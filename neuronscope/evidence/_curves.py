"""Recovered answers and scores against the number of neurons changed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from neuronscope.analysis.statistics import mean_interval
from neuronscope.evidence._base import Case
from neuronscope.results.findings import ITSELF


@dataclass(frozen=True)
class Curve:
    """Answers and scores of the forgotten facts as more and more neurons are changed."""

    sizes: Int[np.ndarray, " size"]
    """Numbers of neurons, ascending."""

    recovered: Float[np.ndarray, "size fact"]
    """Score minus the score with no neuron changed."""

    answered: Bool[np.ndarray, "size fact"]

    @property
    def counts(self) -> Int[np.ndarray, " size"]:
        """Number of recovered answers."""
        return self.answered.sum(axis=1)

    def part(self, which: slice) -> "Curve":
        """The curve at some of its sizes."""
        return Curve(self.sizes[which], self.recovered[which], self.answered[which])

    def to(self, last: "Curve") -> "Curve":
        """The curve, continued by another one at larger sizes."""
        return Curve(
            np.concatenate([self.sizes, last.sizes]),
            np.concatenate([self.recovered, last.recovered]),
            np.concatenate([self.answered, last.answered]),
        )

    def rows(self, ranking: str, control: int = ITSELF) -> pd.DataFrame:
        """One row per size: the mean over facts with its 95 % interval, and the answer count."""
        low, high = mean_interval(self.recovered.T)
        return pd.DataFrame(
            {
                "ranking": ranking,
                "control": control,
                "size": self.sizes,
                "recovered": self.recovered.mean(axis=1),
                "low": low,
                "high": high,
                "answered": self.counts,
                "total": self.recovered.shape[1],
            }
        )


def check_rankings(case: Case, layers: int, width: int) -> None:
    """Check that the case's rankings fit the model.

    Raises:
        ValueError: If one does not; the message names it.
    """
    for name, scores in (case.rankings or {}).items():
        if scores.shape != (layers, width) or not np.isfinite(scores).all():
            raise ValueError(
                f"Ranking {name!r}: expected a finite score for each of {layers} x {width} "
                f"neurons, got shape {scores.shape} with {int(np.isnan(scores).sum())} NaN."
            )


def among(
    chosen: Int[np.ndarray, " chosen"], layers: int, width: int
) -> Bool[np.ndarray, "layer neuron"]:
    """A mask of the neurons with the given flat indices."""
    mask = np.zeros(layers * width, dtype=bool)
    mask[chosen] = True
    return mask.reshape(layers, width)


def ranked(scores: Float[np.ndarray, "layer neuron"]) -> Int[np.ndarray, " flat"]:
    """Flat indices of all neurons, largest score first; ties keep the flat order."""
    return np.argsort(-scores, axis=None, kind="stable")
