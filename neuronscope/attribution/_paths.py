"""Integrate the target's gradient along straight paths from a baseline to the activations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.attribution._baselines import Baseline
from neuronscope.attribution._branches import Branch, Pass, branch_scores, chunks, observe
from neuronscope.attribution._collect import Group, PartInfluence
from neuronscope.attribution._positions import Part
from neuronscope.attribution._quadrature import Influences, Span, integrate
from neuronscope.models.hook_points import HookPoint
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target


@dataclass(frozen=True)
class Effort:
    """The accuracy of the quadrature; see `IntegratedGradients`."""

    steps: int
    tolerance: float
    max_steps: int


@dataclass(frozen=True, eq=False)
class _Lines:
    """Straight paths of the activations of some rows: `neurons + (α − 1) delta` at α."""

    neurons: dict[HookPoint, Float[Tensor, "batch pos _"]]
    """The ends of the paths: the model's activations."""

    delta: dict[HookPoint, Float[Tensor, "batch pos _"]]
    """Activations minus baseline; zero at positions that do not move."""

    def at(
        self, hook_point: HookPoint, rows: Int[Tensor, " row"], alphas: Float[Tensor, " row"]
    ) -> Float[Tensor, "row pos neuron"]:
        """One point on the path of each row, at its α."""
        end = self.neurons[hook_point]
        back = (alphas - 1).to(end)[:, None, None]
        return end[rows] + back * self.delta[hook_point][rows]


def along_paths(
    baseline: Baseline,
    effort: Effort,
    model: HookedModel,
    part: Part,
    groups: Sequence[Group],
    target: Target,
    memory: int,
) -> PartInfluence:
    """The influence along the path of each group of hook points, for each row of a part."""
    hook_points = [hook_point for group in groups for hook_point in group]
    scores, neurons = observe(model, part.inputs, hook_points, target)
    length = part.start + part.moved.shape[1]
    delta = {}
    for hook_point in hook_points:
        base = baseline(model, length, hook_point)
        base = base if len(base) == 1 else base[part.start :]
        delta[hook_point] = (neurons[hook_point] - base.to(neurons[hook_point])) * part.moved[
            ..., None
        ].to(neurons[hook_point])
    lines = _Lines(neurons, delta)
    paths = [(group, row) for group in groups for row in range(len(scores))]
    inputs = _Inputs(model, part.inputs, paths, lines, target, memory)
    integrals = integrate(
        lambda spans: _along(inputs, spans, effort.steps),
        lambda points: _scores(inputs, points),
        [float(scores[row]) for _, row in paths],
        effort.steps,
        effort.tolerance,
        effort.max_steps,
    )
    influence = {
        hook_point: torch.zeros_like(neurons[hook_point], dtype=scores.dtype)
        for hook_point in hook_points
    }
    baseline_score = {group: torch.zeros_like(scores) for group in groups}
    nodes = {group: torch.zeros_like(scores) for group in groups}
    for (group, row), integral in zip(paths, integrals, strict=True):
        along = zip(*(piece.influence for piece in integral.pieces), strict=True)
        for hook_point, parts_of_hook_point in zip(group, along, strict=True):
            influence[hook_point][row] = torch.stack(parts_of_hook_point).sum(dim=0)
        baseline_score[group][row] = integral.pieces[0].start_score
        nodes[group][row] = integral.nodes
    return PartInfluence(neurons, influence, baseline_score, nodes)


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Everything that the integrals depend on."""

    model: HookedModel
    batch: Pass
    paths: Sequence[tuple[Group, int]]
    """The hook points that move together, and the row, for each path."""
    lines: _Lines
    target: Target
    memory: int


def _along(inputs: _Inputs, spans: Sequence[Span], steps: int) -> list[Influences]:
    """The influence along each span, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [−1, 1]
    points = [
        _Point(index, *inputs.paths[span.path], span.start + (span.end - span.start) * node)
        for index, span in enumerate(spans)
        for node in (nodes + 1) / 2
    ]
    sums: list[list[Tensor]] = [[] for _ in spans]
    weight = {
        point: w * (spans[point.index].end - spans[point.index].start)
        for point, w in zip(points, np.tile(weights / 2, len(spans)), strict=True)
    }
    for by_group in _chunked(inputs, points):
        with torch.enable_grad():
            leaves, scores = _run(inputs, by_group)
            found = torch.autograd.grad(torch.cat(scores).sum(), list(leaves.values()))
        gradients = dict(zip(leaves, found, strict=True))
        for group, members in by_group.items():
            for k, point in enumerate(members):
                step = [
                    weight[point] * gradients[hook_point][k].to(scores[0].dtype)
                    for hook_point in group
                ]
                old = sums[point.index]
                sums[point.index] = [a + b for a, b in zip(old, step, strict=True)] if old else step
    influences = []
    for span, gradient in zip(spans, sums, strict=True):
        group, row = inputs.paths[span.path]
        deltas = [inputs.lines.delta[hook_point][row] for hook_point in group]
        influences.append(tuple(g * delta for g, delta in zip(gradient, deltas, strict=True)))
    return influences


def _scores(inputs: _Inputs, places: Sequence[tuple[int, float]]) -> list[float]:
    """The target at points (path, α)."""
    points = [
        _Point(index, *inputs.paths[path], alpha) for index, (path, alpha) in enumerate(places)
    ]
    values = [0.0] * len(points)
    for by_group in _chunked(inputs, points):
        with torch.no_grad():
            _, scores = _run(inputs, by_group)
        for members, group_scores in zip(by_group.values(), scores, strict=True):
            for point, value in zip(members, group_scores.tolist(), strict=True):
                values[point.index] = value
    return values


@dataclass(frozen=True, eq=False)
class _Point:
    """One point of a path."""

    index: int
    """Index of the span, or of the place, that it belongs to."""
    group: Group
    row: int
    alpha: float


def _chunked(inputs: _Inputs, points: Sequence[_Point]) -> Iterator[dict[Group, list[_Point]]]:
    """The points in chunks that fit into one pass each, by group."""
    layers = [point.group[0].layer for point in points]
    for chunk in chunks(inputs.model, inputs.batch, layers, inputs.memory):
        by_group: dict[Group, list[_Point]] = {}
        for point in points[chunk]:
            by_group.setdefault(point.group, []).append(point)
        yield by_group


def _run(
    inputs: _Inputs, by_group: dict[Group, list[_Point]]
) -> tuple[dict[HookPoint, Tensor], list[Float[Tensor, " _"]]]:
    """The activations set at each hook point, and the target at each group's points."""
    leaves: dict[HookPoint, Tensor] = {}
    branches = []
    for group, points in by_group.items():
        rows = torch.tensor([point.row for point in points])
        alphas = torch.tensor([point.alpha for point in points], dtype=torch.float64)
        for hook_point in group:
            leaves[hook_point] = inputs.lines.at(hook_point, rows, alphas).requires_grad_()
        branches.append(Branch(group, rows, lambda hook_point, _: leaves[hook_point]))
    _, scores = branch_scores(inputs.model, inputs.batch, branches, inputs.target)
    return leaves, scores
