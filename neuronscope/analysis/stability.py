"""Attribution stability: how alike the neurons' influence is in two states of a model.

Fig. 6b of arXiv 2509.22263 correlates attributions before and after an attack; which correlation
is not said, so both usual ones are given. 1: nothing moved (or all by one factor).
"""

from dataclasses import dataclass

import numpy as np

from neuronscope.analysis.statistics import pearson, spearman
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording


@dataclass(frozen=True)
class Stability:
    """Correlation over all recorded neurons; NaN where one side is constant."""

    pearson: float
    """Of the influences themselves."""

    spearman: float
    """Of their ranks."""

    n_neurons: int
    """How many neurons both recordings measured."""


def stability(before: Recording, after: Recording, split: str = "forget") -> Stability:
    """Correlate the mean influence (summed over positions) of every neuron in two recordings.

    Args:
        before: One state of the model.
        after: Another, recorded on the same facts in the same way.
        split: Over which facts the influence is averaged.

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
