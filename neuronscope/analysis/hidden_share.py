"""The hidden share: the fraction of the neurons' change that is negative influence gained.

    share = ΣD⁻ / (ΣD⁺ + ΣD⁻), over all recorded neurons

0: only positive influence was lost (erased); 1: only negative influence was gained (hidden).
"""

import numpy as np
from jaxtyping import Float

from neuronscope.analysis.influence_variation import changes_by_fact
from neuronscope.analysis.statistics import reflected_interval
from neuronscope.results.comparison import Comparison


def hidden_share(
    d_plus: Float[np.ndarray, " neuron"], d_minus: Float[np.ndarray, " neuron"]
) -> float:
    """ΣD⁻ / (ΣD⁺ + ΣD⁻); NaN if nothing changed."""
    lost, gained = d_plus.sum(), d_minus.sum()
    return float(gained / (lost + gained)) if lost + gained > 0 else np.nan


def hidden_share_interval(comparison: Comparison) -> tuple[float, float]:
    """95 % bootstrap interval of the hidden share over the forget set.

    Noise between facts makes both clamped sums too large, and resampling adds the same noise again,
    which pulls every resampled share towards that of pure noise. Percentile and BCa intervals keep
    this bias (BCa cannot correct a bias larger than the spread), so the reflected interval is used,
    clipped to [0, 1]. It halves the bias but does not remove it: with noise in most neurons and few
    facts, it covers the share of infinitely many facts less often than 95 %.

    NaN with fewer than two facts, without change, or if the recordings contain only means.
    """
    if not comparison.before.per_fact:
        return np.nan, np.nan
    rows = comparison.before.in_split("forget")

    def shares(weights: Float[np.ndarray, "batch fact"]) -> Float[np.ndarray, " batch"]:
        lost, gained = np.zeros(len(weights)), np.zeros(len(weights))
        single = weights.astype(np.float32)  # rounding is far below the spread of resamples
        for terms_lost, terms_gained in changes_by_fact(comparison, rows):
            lost += np.maximum(single @ terms_lost.astype(np.float32), 0).sum(axis=1)
            gained += np.maximum(single @ terms_gained.astype(np.float32), 0).sum(axis=1)
        changed = lost + gained
        return np.divide(gained, changed, out=np.full_like(changed, np.nan), where=changed > 0)

    low, high = np.clip(reflected_interval(shares, int(rows.sum())), 0, 1)
    return float(low), float(high)
