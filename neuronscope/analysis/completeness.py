"""The completeness error of each recording: how well its attributions add up."""

import numpy as np
import pandas as pd

from neuronscope.analysis.decomposition import layer_labels
from neuronscope.results.comparison import Comparison


def completeness_by_layer(comparison: Comparison) -> pd.DataFrame:
    """Largest |score − baseline score − explained| over the forget set.

    Returns:
        One row per site and layer (layer "all" where all layers were explained together): `site`,
        `layer`, `before`, `after`, in the target's unit.
    """
    rows = comparison.before.in_split("forget")
    tables = []
    for site in comparison.before.sites:
        table = pd.DataFrame({"layer": layer_labels(comparison.before, site)})
        table.insert(0, "site", site)
        for name, recording in (("before", comparison.before), ("after", comparison.after)):
            table[name] = np.abs(recording.completeness_error(site)[rows]).max(axis=0)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def count_unconverged(comparison: Comparison) -> int:
    """Number of attributions (recording, site, fact, layer) with an error above the tolerance.

    Only the forget set counts. 0 for a method without a setting `tolerance`.
    """
    tolerance = comparison.before.provenance.settings.get("tolerance")
    if not isinstance(tolerance, float | int):
        return 0
    rows = comparison.before.in_split("forget")
    return sum(
        int((np.abs(recording.completeness_error(site)[rows]) > tolerance).sum())
        for recording in (comparison.before, comparison.after)
        for site in recording.sites
    )
