"""Attribution stability: correlation of the neurons' influence in two states of a model.

Fig. 6b of arXiv 2509.22263 correlates attributions before and after an attack without naming the
correlation, so both common ones are given. A correlation of 1 means no
change, or a common factor.
"""

from dataclasses import dataclass

import numpy as np

from neuronscope.analysis.statistics import pearson, spearman
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording


@dataclass(frozen=True)
class Stability:
    """Correlation over all recorded neurons; NaN if one side is constant."""

    pearson: float
    """Pearson correlation of the influences."""

    spearman: float
    """Spearman correlation of the influences."""

    n_neurons: int
    """Number of neurons that both recordings measured."""


def stability(before: Recording, after: Recording, split: str = "forget") -> Stability:
    """Correlate the mean influence (summed over positions) of every neuron in two recordings.

    Args:
        before: One state of the model.
        after: The other state, recorded on the same facts with the same settings.
        split: The split over which the influence is averaged.

    Raises:
        ValueError: If the recordings cannot be compared.
    """
    pair = Comparison(before, after)
    x, y = (
        np.concatenate([recording.means(site, split).total.ravel() for site in before.sites])
        for recording in (pair.before, pair.after)
    )
    measured = ~np.isnan(x) & ~np.isnan(y)
    x, y = x[measured], y[measured]
    return Stability(pearson(x, y), spearman(x, y), len(x))
