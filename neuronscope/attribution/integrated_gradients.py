"""Integrated gradients of the target along a straight path of neurons.

Sundararajan, Taly & Yan, *Axiomatic Attribution for Deep Networks*, arXiv 1703.01365, applied to
hidden neurons h with baseline b (knowledge neurons, arXiv 2104.08696, are the case of the last
position and a zero baseline):

    A = (h − b) ∫₀¹ ∂F(b + α (h − b)) / ∂h dα,      Σ A = F(h) − F(b)   (completeness)

Each layer moves alone (the later ones are computed from it), or all layers of a site move together
(each layer's neurons are then an input of their own). The integral is taken by Gauss-Legendre
quadrature; where it does not add up, the path is halved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.attribution._base import GIB, Attribution, Influence
from neuronscope.attribution._baselines import Baseline, Zero
from neuronscope.attribution._branches import Branch, Pass, branch_scores, chunks, observe
from neuronscope.attribution._collect import Group, PartInfluence, collect
from neuronscope.attribution._positions import Part, Positions, parts
from neuronscope.attribution._quadrature import Influences, Span, integrate
from neuronscope.models import HookedModel, frozen
from neuronscope.prompts import Batch
from neuronscope.taps import Tap
from neuronscope.targets import Target


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Integrated gradients along the path from a baseline to the recorded neurons; complete."""

    steps: int = 4
    """Gauss-Legendre nodes on a path, and on each half where it is halved. Four that are halved
    where they do not add up come closer than eight that are not, at two thirds of the cost."""

    tolerance: float = 1e-3
    """A path is halved until its sum misses less than this of the target's difference."""

    max_steps: int = 192
    """Most nodes spent on one path; one that still misses more is flagged."""

    path: Literal["per_layer", "joint"] = "per_layer"
    """Each layer moves alone, the later ones recomputed; or all layers of a site move together."""

    positions: Positions = "all"
    """Which positions move: all, those that predict the answer, or the last of the prompt."""

    baseline: Baseline = field(default_factory=Zero)
    """Where the path begins: silence, the mean over facts, or the neurons on another prompt."""

    def __post_init__(self) -> None:
        positive = 0 < self.tolerance < float("inf")
        if self.steps < 1 or self.max_steps < self.steps or not positive:
            raise ValueError(
                "Expected 1 <= steps <= max_steps and a positive tolerance, got "
                f"steps={self.steps}, max_steps={self.max_steps}, tolerance={self.tolerance}."
            )

    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        groups: list[Group] = []
        for site in sites:
            taps = model.taps_at(site)
            groups += [taps] if self.path == "joint" else [(tap,) for tap in taps]
        with frozen(model):
            done = [
                (part, _integrate(self, model, part, groups, target, memory))
                for part in parts(model, batch, self.positions)
            ]
        return collect(groups, done)


@dataclass(frozen=True, eq=False)
class _Lines:
    """The straight paths of some rows' neurons: at α they are `neurons + (α − 1) delta`."""

    neurons: dict[Tap, Float[Tensor, "batch pos _"]]
    """Where the paths end: what the model did."""

    delta: dict[Tap, Float[Tensor, "batch pos _"]]
    """From the baseline to there; zero at positions that do not move."""

    def at(
        self, tap: Tap, rows: Int[Tensor, " row"], alphas: Float[Tensor, " row"]
    ) -> Float[Tensor, "row pos neuron"]:
        """Points on the paths of `rows`, one for each α."""
        end = self.neurons[tap]
        back = (alphas - 1).to(end)[:, None, None]
        return end[rows] + back * self.delta[tap][rows]


def _integrate(
    method: IntegratedGradients,
    model: HookedModel,
    part: Part,
    groups: Sequence[Group],
    target: Target,
    memory: int,
) -> PartInfluence:
    taps = [tap for group in groups for tap in group]
    scores, neurons = observe(model, part.inputs, taps, target)
    length = part.start + part.moved.shape[1]
    delta = {}
    for tap in taps:
        base = method.baseline(model, length, tap)
        base = base if len(base) == 1 else base[part.start :]
        delta[tap] = (neurons[tap] - base.to(neurons[tap])) * part.moved[..., None].to(neurons[tap])
    lines = _Lines(neurons, delta)
    paths = [(group, row) for group in groups for row in range(len(scores))]
    pieces = integrate(
        lambda spans: _along(model, part.inputs, paths, lines, spans, method.steps, target, memory),
        [float(scores[row]) for _, row in paths],
        method.steps,
        method.tolerance,
        method.max_steps,
    )
    influence = {tap: torch.zeros_like(neurons[tap], dtype=scores.dtype) for tap in taps}
    baseline_score = {group: torch.zeros_like(scores) for group in groups}
    nodes = {group: torch.zeros_like(scores) for group in groups}
    for (group, row), path in zip(paths, pieces, strict=True):
        for tap, along in zip(group, zip(*(p.influence for p in path), strict=True), strict=True):
            influence[tap][row] = torch.stack(along).sum(dim=0)
        baseline_score[group][row] = min(path, key=lambda piece: piece.span.start).start_score
        # Each halving put two pieces in the place of one.
        nodes[group][row] = method.steps * (2 * len(path) - 1)
    return PartInfluence(neurons, influence, baseline_score, nodes)


def _along(
    model: HookedModel,
    inputs: Pass,
    paths: Sequence[tuple[Group, int]],
    lines: _Lines,
    spans: Sequence[Span],
    steps: int,
    target: Target,
    memory: int,
) -> list[tuple[Influences, float]]:
    """Influence along each span, and the target at its start, by Gauss-Legendre quadrature.

    The points of all spans share passes, as memory allows.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [−1, 1]
    # Each span's start is one more point, of weight zero.
    nodes, weights = np.append(0.0, (nodes + 1) / 2), np.append(0.0, weights / 2)
    points = [
        _Point(index, *paths[span.path], span.start + (span.end - span.start) * node, weight)
        for index, span in enumerate(spans)
        for node, weight in zip(nodes, weights * (span.end - span.start), strict=True)
    ]
    sums = {}
    starts = {}
    for chunk in chunks(model, inputs, [point.group[0].layer for point in points], memory):
        by_group: dict[Group, list[_Point]] = {}
        for point in points[chunk]:
            by_group.setdefault(point.group, []).append(point)
        for here, gradients, scores in _gradients(model, inputs, by_group, lines, target):
            for k, point in enumerate(here):
                if point.weight == 0:
                    starts[point.span] = float(scores[k])
                    continue
                step = [point.weight * g[k].to(scores.dtype) for g in gradients]
                old = sums.get(point.span)
                sums[point.span] = (
                    step if old is None else [a + b for a, b in zip(old, step, strict=True)]
                )
    return [
        (
            tuple(
                gradient * lines.delta[tap][row]
                for gradient, tap in zip(sums[index], group, strict=True)
            ),
            starts[index],
        )
        for index, (group, row) in enumerate(paths[span.path] for span in spans)
    ]


@dataclass(frozen=True, eq=False)
class _Point:
    """One point of a span."""

    span: int
    group: Group
    row: int
    alpha: float
    weight: float


def _gradients(
    model: HookedModel,
    inputs: Pass,
    points: dict[Group, list[_Point]],
    lines: _Lines,
    target: Target,
) -> Iterator[tuple[list[_Point], list[Float[Tensor, "row pos neuron"]], Float[Tensor, " row"]]]:
    """For each group: its points, the target's gradient at them by tap, and the target there."""
    leaves: dict[Tap, Tensor] = {}
    branches = []
    for group, here in points.items():
        rows = torch.tensor([point.row for point in here])
        alphas = torch.tensor([point.alpha for point in here], dtype=torch.float64)
        for tap in group:
            leaves[tap] = lines.at(tap, rows, alphas).requires_grad_()
        branches.append(Branch(group, rows, lambda tap, _: leaves[tap]))
    with torch.enable_grad():
        _, scores = branch_scores(model, inputs, branches, target)
        found = torch.autograd.grad(torch.cat(scores).sum(), list(leaves.values()))
    gradients = dict(zip(leaves, found, strict=True))
    for (group, here), reached in zip(points.items(), scores, strict=True):
        yield here, [gradients[tap] for tap in group], reached.detach()
