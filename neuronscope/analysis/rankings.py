"""Scores that rank the neurons at `mlp.post` as causes of the forgetting."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from neuronscope.results.comparison import Comparison

SITE = "mlp.post"


def rankings_of_recordings(
    comparison: Comparison, neurons: pd.DataFrame
) -> dict[str, Float[np.ndarray, "layer neuron"]]:
    """Scores from two recordings; empty if the site was not recorded.

    Args:
        comparison: The recordings.
        neurons: The diagnosis's table of neurons, with `before`, `after` and `d_minus`.

    Returns:
        `d_minus` (arXiv 2509.22263, Eq. 5), `attribution_difference` (influence before − after)
        and `activation_change` (absolute change where the answer is predicted).
    """
    if SITE not in comparison.before.sites:
        return {}
    here = neurons.loc[neurons["site"] == SITE]
    before, after = (r.means(SITE) for r in (comparison.before, comparison.after))
    shape = before.total.shape
    return {
        "d_minus": here["d_minus"].to_numpy().reshape(shape),
        "attribution_difference": (here["before"] - here["after"]).to_numpy().reshape(shape),
        "activation_change": np.abs(after.activation - before.activation),
    }


def rankings_of_weights(
    neurons: pd.DataFrame,
) -> dict[str, Float[np.ndarray, "layer neuron"]]:
    """The score from a weight path's table of neurons: `weight_path`."""
    here = neurons.loc[neurons["site"] == SITE]
    shape = (here["layer"].nunique(), -1)
    return {"weight_path": here["contribution"].to_numpy().reshape(shape)}
