"""Decomposition of the score's drop by layer and site.

Each recording explains its score F as baseline score + explained + residual, where `explained` is
the sum of the group's influences A (summed over positions). For the facts x of the forget set and
the neurons i of a group (all neurons of one layer; on the joint path, of all layers),

    drop            = mean_x[ F(before) − F(after) ]                     (positive: forgotten)
    positive_lost   = Σ_i mean_x[ max(A(before), 0) − max(A(after), 0) ] (positive influence lost)
    negative_gained = Σ_i mean_x[ min(A(before), 0) − min(A(after), 0) ] (negative influence gained)
    elsewhere       = mean_x[ baseline(before) − baseline(after) ]       (not by these neurons)
    remainder       = mean_x[ residual(before) − residual(after) ]       (the completeness error)

and drop = positive_lost + negative_gained + elsewhere + remainder. The remainder includes the
rounding difference between `explained`, which is summed in the model's precision, and the sum of
stored influences.

Neither `positive_lost` nor `negative_gained` alone shows erasure or hiding. Each is a net change
and may be negative: where neurons hide an answer, others may gain positive influence, so that
`positive_lost` is far below zero; and while an answer is erased, negative influence may grow.
"""

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from neuronscope.analysis.statistics import mean_interval
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording, SiteRecording

PARTS = ("drop", "positive_lost", "negative_gained", "elsewhere", "remainder")


def decompose(comparison: Comparison) -> pd.DataFrame:
    """One row per site and layer: the drop and the four parts that add up to it.

    Returns:
        Columns `site`, `layer` (a number; "all" where all layers were explained together), the
        five `PARTS` as means over the forget set, in the target's unit, and for each
        `<name>_low` and `<name>_high`, its 95 % interval over facts: NaN with fewer
        than two facts, or if the recordings contain only means.
    """
    tables = []
    for site in comparison.before.sites:
        by_fact = _parts(comparison, site)
        table = pd.DataFrame({"layer": layer_labels(comparison.before, site)})
        table.insert(0, "site", site)
        for name in PARTS:
            table[name] = by_fact[name].mean(axis=0)
        for name in PARTS:
            redrawn = by_fact[name] if comparison.before.per_fact else by_fact[name][:1]
            table[f"{name}_low"], table[f"{name}_high"] = mean_interval(redrawn)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def layer_labels(recording: Recording, site: str) -> list[int] | list[str]:
    """Labels of the site's groups: layer numbers, or "all" if one group covers all layers."""
    layers = recording.sites[site].total.shape[-2]
    groups = recording.sites[site].explained.shape[-1]
    return list(range(layers)) if groups == layers else ["all"]


def _parts(comparison: Comparison, site: str) -> dict[str, Float[np.ndarray, "fact group"]]:
    """The drop and its parts per fact; recordings of means repeat the mean in every row."""
    before, after = comparison.before, comparison.after
    facts = np.flatnonzero(before.in_split("forget"))
    gain_before, fall_before = _positive_and_negative(before, site, facts)
    gain_after, fall_after = _positive_and_negative(after, site, facts)
    baseline = before.sites[site].baseline_score[facts].astype(np.float64)
    elsewhere = baseline - after.sites[site].baseline_score[facts]
    score = before.score[facts].astype(np.float64) - after.score[facts]
    drop = np.broadcast_to(score[:, None], elsewhere.shape)
    lost, gained = gain_before - gain_after, fall_before - fall_after
    remainder = drop - lost - gained - elsewhere
    return dict(zip(PARTS, (drop, lost, gained, elsewhere, remainder), strict=True))


def _positive_and_negative(
    recording: Recording, site: str, facts: Int[np.ndarray, " fact"]
) -> tuple[Float[np.ndarray, "fact group"], Float[np.ndarray, "fact group"]]:
    """Sums over the group's neurons of max(A, 0) and of min(A, 0)."""
    recorded = recording.sites[site]
    if isinstance(recorded, SiteRecording):
        gain = _sums(recorded.total, facts, np.maximum)
        fall = _sums(recorded.total, facts, np.minimum)
    else:
        means = recording.means(site)
        gain = means.total_gain.sum(axis=-1, dtype=np.float64)
        fall = means.total.sum(axis=-1, dtype=np.float64) - gain
        gain, fall = (np.tile(part, (len(facts), 1)) for part in (gain, fall))
    if layer_labels(recording, site) == ["all"]:
        gain, fall = (part.sum(axis=-1, keepdims=True) for part in (gain, fall))
    return gain, fall


def _sums(
    total: Float[np.ndarray, "batch layer neuron"],
    facts: Int[np.ndarray, " fact"],
    side: np.ufunc,
) -> Float[np.ndarray, "fact layer"]:
    """Σ_i side(A, 0) over each layer's neurons, in double precision, one fact at a time."""
    return np.stack([side(total[fact], 0).sum(axis=-1, dtype=np.float64) for fact in facts])
