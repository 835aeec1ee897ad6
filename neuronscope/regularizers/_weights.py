"""The trained parameters: current values, earlier values, and sums over their entries.

Parameters may be sharded over processes, so all operations act entry by entry.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.sharded import squares_of
from neuronscope.objectives import Gradients

START = "start/"
"""Prefix of the names of initial parameter values in the memory."""


def trained(model: HookedModel) -> Gradients:
    """The trained parameters, detached from the graph."""
    return {name: p.detach() for name, p in model.hf.named_parameters() if p.requires_grad}


def copied(model: HookedModel, prefix: str = "") -> Gradients:
    """A copy of the trained parameters.

    Args:
        prefix: Prefix of each name.
    """
    return {prefix + name: weight.clone() for name, weight in trained(model).items()}


@contextmanager
def with_weights(model: HookedModel, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """While active, the trained parameters have the given values.

    To evaluate the original model, the model in training is set to its initial weights, because it
    is already sharded and wrapped. A second model would save no memory: it would take as much as
    these weights do.

    Args:
        weights: Values by name, with the prefix `START`.
    """
    now = copied(model, START)
    try:
        _set(model, weights)
        yield
    finally:
        _set(model, now)


def _set(model: HookedModel, weights: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, weight in trained(model).items():
            weight.copy_(weights[START + name])


def squared_distance(
    weights: Gradients, others: Mapping[str, Float[Tensor, "..."]], prefix: str
) -> tuple[Gradients, float]:
    """Σ(φ − φ')² over all entries, and its gradient 2(φ − φ').

    Args:
        prefix: Prefix of each name in `others`.
    """
    differences = {name: weight - others[prefix + name] for name, weight in weights.items()}
    value = squares_of(differences.values())
    return {name: difference.mul_(2) for name, difference in differences.items()}, value
