"""The parameters that are trained: as they are, as they were, and sums over their entries.

They may be sharded over processes: what is done to them is done entry by entry.
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
"""Begins the name under which a parameter's first value is remembered."""


def trained(model: HookedModel) -> Gradients:
    """The parameters that are trained, without their history."""
    return {name: p.detach() for name, p in model.hf.named_parameters() if p.requires_grad}


def copied(model: HookedModel, prefix: str = "") -> Gradients:
    """A copy of the parameters that are trained.

    Args:
        prefix: Put before each name.
    """
    return {prefix + name: weight.clone() for name, weight in trained(model).items()}


@contextmanager
def standing_at(model: HookedModel, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """While active, the parameters that are trained have other values.

    Where the model before is asked, the model in training itself stands where it began: it is sharded and
    wrapped as gradients need it, and a second model would take as much memory as the copy.

    Args:
        weights: By name, after `START`.
    """
    now = copied(model, START)
    try:
        _put(model, weights)
        yield
    finally:
        _put(model, now)


def _put(model: HookedModel, weights: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, weight in trained(model).items():
            weight.copy_(weights[START + name])


def squared_distance(
    weights: Gradients, others: Mapping[str, Float[Tensor, "..."]], prefix: str
) -> tuple[Gradients, float]:
    """Σ(φ − φ')² over all entries, and its gradient 2(φ − φ').

    Args:
        prefix: What stands before each name in `others`.
    """
    apart = {name: weight - others[prefix + name] for name, weight in weights.items()}
    value = squares_of(apart.values())
    return {name: difference.mul_(2) for name, difference in apart.items()}, value
