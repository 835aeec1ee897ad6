"""Reduce the influence at every position to a table of layers and neurons for each site."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.attribution._base import Influence, at_answer, over_positions
from neuronscope.attribution._positions import Part
from neuronscope.models.hook_points import HookPoint

Group = tuple[HookPoint, ...]
"""Hook points that move together: one layer of a site, or all of its layers."""


@dataclass(frozen=True, eq=False)
class PartInfluence:
    """A method's results for the rows of one part."""

    neurons: dict[HookPoint, Float[Tensor, "batch pos _"]]
    """The activations."""

    influence: dict[HookPoint, Float[Tensor, "batch pos _"]]

    baseline_score: dict[Group, Float[Tensor, " batch"]]

    nodes: dict[Group, Float[Tensor, " batch"]]


def collect(
    groups: Sequence[Group], done: Sequence[tuple[Part, PartInfluence]]
) -> dict[str, Influence]:
    """Reduce over positions, and restore the batch's order of rows."""
    order = torch.cat([part.index for part, _ in done]).argsort()
    results = {}
    for site in dict.fromkeys(group[0].site for group in groups):
        of_site = [group for group in groups if group[0].site == site]
        rows = [_site(of_site, part, found) for part, found in done]
        results[site] = Influence(
            *(torch.cat(tensors)[order] for tensors in zip(*rows, strict=True))
        )
    return results


def _site(groups: Sequence[Group], part: Part, found: PartInfluence) -> tuple[Tensor, ...]:
    hook_points = [hook_point for group in groups for hook_point in group]
    # The layers of a large model may be on several devices; results are on the tokens' device.
    device = part.index.device
    reduced = [
        over_positions(found.influence[hook_point], part.moved) for hook_point in hook_points
    ]
    total, positive, negative = (
        torch.stack([layer.to(device) for layer in layers], dim=1)
        for layers in zip(*reduced, strict=True)
    )
    activation = torch.stack(
        [
            at_answer(found.neurons[hook_point], part.predicting).to(device)
            for hook_point in hook_points
        ],
        dim=1,
    )
    sums = total.double().sum(dim=-1).split([len(group) for group in groups], dim=1)
    explained = torch.stack([layers.sum(dim=1) for layers in sums], dim=1)
    return (
        total,
        positive,
        negative,
        activation,
        torch.stack([found.baseline_score[group] for group in groups], dim=1),
        explained.to(total.dtype),
        torch.stack([found.nodes[group] for group in groups], dim=1),
    )
