"""The neurons of one site, per fact or averaged over facts; influence is in the target's unit."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class SiteMeans:
    """The neurons of one site, averaged over facts: sufficient for the paper's D⁺ and D⁻."""

    total: Float[np.ndarray, "layer neuron"]
    """Mean of the influence summed over positions."""

    total_gain: Float[np.ndarray, "layer neuron"]
    """Mean of max(total, 0); the mean of min(total, 0) is `total - total_gain`."""

    positive: Float[np.ndarray, "layer neuron"]
    """Mean of the largest influence at any position."""

    positive_gain: Float[np.ndarray, "layer neuron"]
    """Mean of max(positive, 0)."""

    negative: Float[np.ndarray, "layer neuron"]
    """Mean of the smallest influence at any position."""

    activation: Float[np.ndarray, "layer neuron"]
    """Mean activation at the positions that predict the answer."""

    baseline_score: Float[np.ndarray, "fact group"]
    """The target with this site at its baseline, per fact."""

    explained: Float[np.ndarray, "fact group"]
    """Sum of the influence over the group's neurons, per fact, in the model's precision."""

    nodes: Float[np.ndarray, "fact group"]
    """Number of gradient evaluations per fact and group."""


@dataclass(frozen=True)
class SiteRecording:
    """The neurons of one site, per fact.

    The axis `group` has one entry per layer if each layer is explained separately, and a single
    entry if all layers are explained together (the joint path).
    """

    total: Float[np.ndarray, "fact layer neuron"]
    """Influence summed over positions, in the target's unit."""

    positive: Float[np.ndarray, "fact layer neuron"]
    """The largest influence at any position (the paper's max over tokens)."""

    negative: Float[np.ndarray, "fact layer neuron"]
    """The smallest influence at any position (the paper's min over tokens)."""

    activation: Float[np.ndarray, "fact layer neuron"]
    """Mean activation at the positions that predict the answer."""

    baseline_score: Float[np.ndarray, "fact group"]
    """The target with this site at its baseline."""

    explained: Float[np.ndarray, "fact group"]
    """Sum of `total` over the group's neurons, in the model's precision."""

    nodes: Float[np.ndarray, "fact group"]
    """Number of gradient evaluations per fact and group."""

    def means(self, rows: Bool[np.ndarray, " fact"]) -> SiteMeans:
        """Averages over the facts where `rows` is true, in double precision.

        Raises:
            ValueError: If no row is true.
        """
        chosen = np.flatnonzero(rows)
        if not chosen.size:
            raise ValueError("Expected at least one fact to average over, got none.")

        def mean(values: np.ndarray, floor: float = -np.inf) -> np.ndarray:
            total = np.zeros(values.shape[1:])
            for row in chosen:  # row by row: a copy of all chosen rows may not fit in memory
                total += np.maximum(values[row], floor)
            return total / len(chosen)

        return SiteMeans(
            total=mean(self.total),
            total_gain=mean(self.total, floor=0.0),
            positive=mean(self.positive),
            positive_gain=mean(self.positive, floor=0.0),
            negative=mean(self.negative),
            activation=mean(self.activation),
            baseline_score=self.baseline_score[rows],
            explained=self.explained[rows],
            nodes=self.nodes[rows],
        )
