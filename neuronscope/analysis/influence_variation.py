"""D⁺ and D⁻: the positive influence that a neuron lost, and the negative influence that it gained.

Equations 4 and 5 of arXiv 2509.22263, with both clamps of its Appendix A. Over the facts x of the
forget set, with A_max and A_min a neuron's largest and smallest influence at any position:

    D⁺ = max(mean_x[ A_max(before) − max(A_max(after), 0) ], 0)
    D⁻ = max(mean_x[ A_min(before) − A_min(after) ], 0)

The outer clamp (contradictory behaviour) acts on each neuron's mean over facts. The inner clamp
(over-unlearning) is in D⁺ only: where influence falls below zero, only the fall to zero counts.
"""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import SiteMeans, SiteRecording

TOP = 100
"""Number of neurons in the paper's sums (D at 100) and averages (module map)."""

CURVE_ROWS = 2000
"""Maximum number of rows of a cumulative curve."""

BLOCK = 4096
"""Number of neurons processed at once; it limits memory and does not affect the results."""


def lost_and_gained(
    before: SiteMeans, after: SiteMeans
) -> tuple[Float[np.ndarray, "layer neuron"], Float[np.ndarray, "layer neuron"]]:
    """D⁺ (positive influence lost) and D⁻ (negative influence gained) of one site's neurons."""
    lost = before.positive - after.positive_gain
    gained = before.negative - after.negative
    return np.maximum(lost, 0), np.maximum(gained, 0)


def influence_variation(comparison: Comparison) -> pd.DataFrame:
    """One row per neuron: influence before and after, D⁺ and D⁻, over the forget set.

    Returns:
        Columns `site`, `layer`, `neuron`, for mixtures of experts `expert` (missing at sites
        without experts), `before` and `after` (mean influence summed over positions), `d_plus` and
        `d_minus`; in the target's unit. Rows are ordered by site, layer and neuron.
    """
    tables = []
    for site in comparison.before.sites:
        before, after = comparison.before.means(site), comparison.after.means(site)
        d_plus, d_minus = lost_and_gained(before, after)
        layers, neurons = d_plus.shape
        table = pd.DataFrame(
            {
                "site": site,
                "layer": np.repeat(np.arange(layers), neurons),
                "neuron": np.tile(np.arange(neurons), layers),
                "before": before.total.astype(np.float64).ravel(),
                "after": after.total.astype(np.float64).ravel(),
                "d_plus": d_plus.astype(np.float64).ravel(),
                "d_minus": d_minus.astype(np.float64).ravel(),
            }
        )
        experts = comparison.before.provenance.experts
        if experts:
            expert = table["neuron"] // (neurons // experts) if site == "mlp.post" else pd.NA
            table.insert(3, "expert", pd.Series(expert, table.index, dtype="Int64"))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def sum_of_largest(values: Float[np.ndarray, " neuron"], m: int = TOP) -> float:
    """Sum of the m largest values, or of all values if there are fewer."""
    return float(np.sort(values)[::-1][:m].sum())


def cumulative_curve(neurons: pd.DataFrame) -> pd.DataFrame:
    """Cumulative sums of D⁺ and D⁻ over the m neurons with the largest values of each.

    Args:
        neurons: One row per neuron with `d_plus` and `d_minus`.

    Returns:
        Columns `m`, `d_plus`, `d_minus`. At most `CURVE_ROWS` rows, dense for small m; m
        includes 1, `TOP` and the number of neurons.
    """
    count = len(neurons)
    spaced = np.geomspace(1, count, CURVE_ROWS - 1).round().astype(int)
    m = np.union1d(spaced, min(TOP, count))
    sums = {
        name: np.cumsum(np.sort(neurons[name].to_numpy())[::-1])[m - 1]
        for name in ("d_plus", "d_minus")
    }
    return pd.DataFrame({"m": m, **sums})


def module_map(neurons: pd.DataFrame) -> pd.DataFrame:
    """Mean of the `TOP` largest D⁺ and of the `TOP` largest D⁻, per site and layer.

    If a layer has fewer neurons, the mean is over all of them.

    Args:
        neurons: One row per neuron with `site`, `layer`, `d_plus` and `d_minus`.

    Returns:
        Columns `site`, `layer`, `d_plus`, `d_minus`.
    """
    groups = neurons.groupby(["site", "layer"], sort=False)[["d_plus", "d_minus"]]
    means = groups.agg(lambda d: sum_of_largest(d.to_numpy()) / min(TOP, len(d)))
    return means.reset_index()


def changes_by_fact(
    comparison: Comparison, rows: Bool[np.ndarray, " fact"]
) -> Iterator[tuple[Float[np.ndarray, "batch neuron"], Float[np.ndarray, "batch neuron"]]]:
    """Each fact's terms of D⁺ and D⁻ before averaging and clamping, in blocks of neurons.

    The blocks follow the rows of `influence_variation`. Recordings of means yield none.

    Args:
        comparison: The two recordings.
        rows: The facts to yield.
    """
    for site, before in comparison.before.sites.items():
        after = comparison.after.sites[site]
        if not isinstance(before, SiteRecording) or not isinstance(after, SiteRecording):
            return
        _, layers, neurons = before.total.shape
        for layer, start in itertools.product(range(layers), range(0, neurons, BLOCK)):
            block = rows, layer, slice(start, start + BLOCK)
            kept = np.maximum(after.positive[block], 0)
            lost = before.positive[block].astype(np.float64) - kept
            yield lost, before.negative[block].astype(np.float64) - after.negative[block]
