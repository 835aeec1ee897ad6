"""The causal score of a ranking: the position of its curve between random and all neurons.

    C = ∫ (ranking − random) d log m / ∫ (all − random) d log m

over the number m of restored neurons, from the smallest set to all. A score of 0 means that the
ranking is no better than random neurons of the same layers whose weights changed as much; a score
of 1 means that the smallest set recovers as much as all neurons do. The controls match the ranking
in its layers and in the size of the weight change, so neither contributes to the score.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import integrate, stats

from neuronscope.analysis.statistics import CONFIDENCE, reflected_interval
from neuronscope.evidence._curves import Curve


@dataclass(frozen=True)
class CausalScore:
    """How much better than chance a ranking identifies the neurons that recover the answers."""

    value: float
    """NaN if all neurons together recover no more than random ones do."""

    low: float
    high: float
    """95 % bootstrap interval over facts."""

    chance: float
    """Upper 95 % limit of a random ranking's score, by Student's t over the draws."""

    @property
    def beats_random(self) -> bool:
        """Whether the interval lies above `chance`, the upper limit for random rankings."""
        return self.low > self.chance

    @property
    def merit(self) -> float:
        """The sort key of rankings; those without a score come last."""
        return -math.inf if math.isnan(self.value) else self.value


def causal_score(ranking: Curve, controls: Sequence[Curve]) -> CausalScore:
    """The score of a ranking against its matched random controls.

    Args:
        ranking: A curve whose last size is all neurons.
        controls: One per draw. A control is interpolated linearly in m between its sizes and from
            0, because what random neurons recover is about proportional to their number.
    """
    sizes = ranking.sizes
    random = np.stack([_area(sizes, _at(sizes, control)) for control in controls])
    everything = ranking.recovered[-1] * math.log(sizes[-1] / sizes[0])
    gain = _area(sizes, ranking.recovered) - random.mean(axis=0)
    most = everything - random.mean(axis=0)

    if most.mean() <= 0:
        return CausalScore(math.nan, math.nan, math.nan, math.nan)

    def ratio(weights: Float[np.ndarray, "batch fact"]) -> Float[np.ndarray, " batch"]:
        whole = weights @ most
        return np.where(whole > 0, weights @ gain, np.nan) / np.where(whole > 0, whole, 1.0)

    low, high = reflected_interval(ratio, len(gain))
    draws = len(controls)
    spread = np.std(random.mean(axis=1), ddof=1) * math.sqrt(1 + 1 / draws) / most.mean()
    chance = float(stats.t.ppf((1 + CONFIDENCE) / 2, draws - 1) * spread)
    return CausalScore(float(gain.mean() / most.mean()), low, high, chance)


def _at(sizes: Int[np.ndarray, " size"], control: Curve) -> Float[np.ndarray, "size fact"]:
    """A control, interpolated at sizes where it was not measured."""
    measured = np.concatenate([[0], control.sizes])
    facts = [np.interp(sizes, measured, [0.0, *fact]) for fact in control.recovered.T]
    return np.stack(facts, axis=1)


def _area(
    sizes: Int[np.ndarray, " size"], recovered: Float[np.ndarray, "size fact"]
) -> Float[np.ndarray, " fact"]:
    """Each fact's recovered target, integrated over log size by the trapezoidal rule."""
    return integrate.trapezoid(recovered, np.log(sizes), axis=0)
