"""Random neurons, matched to the neurons of a ranking, as controls."""

import numpy as np
import torch
from jaxtyping import Float, Int

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import check_same_shapes
from neuronscope.models.neuron_weights import neuron_weights

SITE = "mlp.post"

LEAST_IN_STRATUM = 16
"""Minimum number of neurons in a stratum: with fewer, controls would often draw the chosen ones."""


def alike(
    order: Int[np.ndarray, " flat"],
    strata: Int[np.ndarray, " flat"],
    generator: np.random.Generator,
    spared: int = 0,
) -> Int[np.ndarray, " flat"]:
    """A random order whose prefixes have as many neurons per stratum as those of `order`.

    Args:
        order: Flat indices of all neurons, best first.
        strata: The stratum of each neuron.
        spared: Number of leading neurons of `order` that are drawn only after all others of their
            stratum, to test whether these particular neurons are needed. With 0, controls may
            contain the leading neurons.
    """
    late = np.zeros(len(order), dtype=bool)
    late[order[:spared]] = True
    drawn = np.lexsort((generator.random(len(order)), late, strata))
    places = np.argsort(strata[order], kind="stable")
    result = np.empty_like(order)
    result[places] = drawn
    return result


def by_layer_and_size(
    values: Float[np.ndarray, "layer neuron"], bins: int
) -> Int[np.ndarray, " flat"]:
    """Strata of neurons, flat: quantile bins of the values in each layer.

    Args:
        bins: Bins per layer; fewer if a bin would hold fewer than `LEAST_IN_STRATUM` neurons.
    """
    layers, width = values.shape
    bins = max(1, min(bins, width // LEAST_IN_STRATUM))
    rank = values.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
    return (np.arange(layers)[:, None] * bins + rank * bins // width).ravel()


def change_norms(before: HookedModel, after: HookedModel) -> Float[np.ndarray, "layer neuron"]:
    """Norm of the change of each neuron's weights, ‖Δθ‖, at `mlp.post`.

    Raises:
        ValueError: If the models differ in shape.
    """
    check_same_shapes(before, after)
    hook_points = after.hook_points_at(SITE)
    squares = np.zeros((len(hook_points), hook_points[0].width))
    for own in neuron_weights(after):
        if own.site == SITE:
            mine = after.hf.get_parameter(own.parameter).detach()
            theirs = before.hf.get_parameter(own.parameter).detach().to(mine.device)
            # In double: half precision would round small changes away.
            change = (theirs.to(torch.float64) - mine.to(torch.float64)).square()
            squares[own.layer] += own.per_neuron(change).cpu().numpy()
    return np.sqrt(squares)
