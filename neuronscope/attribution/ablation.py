"""Ablation: the exact effect of setting one neuron to zero at every position.

    A_i = F(h) − F(h with h_i = 0)

This is the ground truth that the gradient methods approximate. It costs one forward pass through
the later layers for each neuron and fact, and is computed for given neurons or for a sample drawn
evenly over layers. All other neurons are NaN.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.attribution._base import GIB, Attribution, Influence, at_answer, check_neurons
from neuronscope.attribution._branches import (
    Branch,
    Pass,
    branch_scores,
    chunks,
    observe,
    silenced_scores,
)
from neuronscope.attribution._positions import whole
from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import HookPoint
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import frozen
from neuronscope.models.targets import Target


@dataclass(frozen=True)
class Ablation(Attribution):
    """The exact effect of ablating one neuron, for a sample of neurons or for given ones."""

    every_neuron: ClassVar[bool] = False

    sample: int = 300
    """Number of neurons to draw at random at each site, as evenly over layers as possible."""

    seed: int = 0
    """Seed of the sample."""

    neurons: tuple[tuple[int, int], ...] | None = None
    """Ablate these neurons, as (layer, neuron), at every site instead of a sample."""

    def __post_init__(self) -> None:
        if self.neurons == () or self.sample < 1:
            raise ValueError(
                "Expected at least one neuron to ablate, got "
                f"sample={self.sample}, neurons={self.neurons}."
            )

    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        part = whole(batch)
        results = {}
        for site in sites:
            hook_points = model.hook_points_at(site)
            chosen = self.chosen(len(hook_points), hook_points[0].width)
            with frozen(model), torch.no_grad():
                scores, neurons = observe(model, part.inputs, hook_points, target)
                ablated = _ablated(model, part.inputs, hook_points, chosen, target, memory)
            total = scores.new_full(
                (len(scores), len(hook_points), hook_points[0].width), torch.nan
            )
            for (layer, neuron), score in zip(chosen, ablated, strict=True):
                total[:, layer, neuron] = scores - score
            baseline = silenced_scores(model, part.inputs, hook_points, target, memory)
            results[site] = Influence(
                total=total,
                positive=total.clamp(min=0),
                negative=total.clamp(max=0),
                activation=torch.stack(
                    [at_answer(neurons[t], part.predicting) for t in hook_points], 1
                ),
                baseline_score=torch.stack(baseline, dim=1),
                explained=total.double().nansum(dim=-1).to(total.dtype),
                nodes=torch.full_like(total[..., 0], 0.0),
            )
        return results

    def chosen(self, layers: int, width: int) -> list[tuple[int, int]]:
        """The neurons to ablate, as (layer, neuron).

        Raises:
            ValueError: If a given neuron does not exist.
        """
        if self.neurons is not None:
            check_neurons(self.neurons, layers, width)
            return sorted(self.neurons)
        generator = np.random.default_rng(self.seed)
        counts = np.full(layers, self.sample // layers)
        counts[generator.permutation(layers)[: self.sample % layers]] += 1
        return [
            (layer, int(neuron))
            for layer, count in enumerate(counts)
            for neuron in sorted(generator.choice(width, min(count, width), replace=False))
        ]


def _ablated(
    model: HookedModel,
    inputs: Pass,
    hook_points: Sequence[HookPoint],
    chosen: Sequence[tuple[int, int]],
    target: Target,
    memory: int,
) -> list[Float[Tensor, " batch"]]:
    """The target with one neuron set to zero, for each chosen neuron."""
    batch = len(inputs.tokens)
    copies = [(layer, neuron, row) for layer, neuron in chosen for row in range(batch)]
    scores = []
    for chunk in chunks(model, inputs, [layer for layer, _, _ in copies], memory):
        by_layer: dict[int, list[tuple[int, int]]] = {}
        for layer, neuron, row in copies[chunk]:
            by_layer.setdefault(layer, []).append((neuron, row))
        branches = [
            Branch((hook_points[layer],), torch.tensor([row for _, row in pairs]), _ablate(pairs))
            for layer, pairs in by_layer.items()
        ]
        scores += branch_scores(model, inputs, branches, target)[1]
    return list(torch.cat(scores).view(len(chosen), batch))


def _ablate(pairs: Sequence[tuple[int, int]]) -> Callable[[HookPoint, Tensor], Tensor]:
    """A change of rows that sets one neuron of each to zero, from pairs of neuron and row."""
    index = torch.tensor([neuron for neuron, _ in pairs])

    def ablate(hook_point: HookPoint, neurons: Tensor) -> Tensor:
        del hook_point
        at = index.to(neurons.device)[:, None, None].expand(-1, neurons.shape[1], 1)
        return neurons.scatter(-1, at, 0.0)

    return ablate
