"""Integrating the target's gradient along straight paths from a baseline to the neurons."""

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
    """How closely a path is integrated; see `IntegratedGradients`."""

    steps: int
    tolerance: float
    max_steps: int


@dataclass(frozen=True, eq=False)
class _Lines:
    """The straight paths of some rows' neurons: at α they are `neurons + (α − 1) delta`."""

    neurons: dict[HookPoint, Float[Tensor, "batch pos _"]]
    """Where the paths end: what the model did."""

    delta: dict[HookPoint, Float[Tensor, "batch pos _"]]
    """From the baseline to there; zero at positions that do not move."""

    def at(
        self, hook_point: HookPoint, rows: Int[Tensor, " row"], alphas: Float[Tensor, " row"]
    ) -> Float[Tensor, "row pos neuron"]:
        """Points on the paths of `rows`, one for each α."""
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
    """Influence along the path of each group of hook points and each row of a part."""
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
    question = _Question(model, part.inputs, paths, lines, target, memory)
    integrals = integrate(
        lambda spans: _along(question, spans, effort.steps),
        lambda points: _scores(question, points),
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
class _Question:
    """Everything that the numbers on some paths depend on."""

    model: HookedModel
    inputs: Pass
    paths: Sequence[tuple[Group, int]]
    """The hook points that move together, and the row whose neurons they are."""
    lines: _Lines
    target: Target
    memory: int


def _along(question: _Question, spans: Sequence[Span], steps: int) -> list[Influences]:
    """Influence along each span, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [−1, 1]
    points = [
        _Point(index, *question.paths[span.path], span.start + (span.end - span.start) * node)
        for index, span in enumerate(spans)
        for node in (nodes + 1) / 2
    ]
    sums: list[list[Tensor]] = [[] for _ in spans]
    weight = {
        point: w * (spans[point.index].end - spans[point.index].start)
        for point, w in zip(points, np.tile(weights / 2, len(spans)), strict=True)
    }
    for here in _chunked(question, points):
        with torch.enable_grad():
            leaves, scores = _passed(question, here)
            found = torch.autograd.grad(torch.cat(scores).sum(), list(leaves.values()))
        gradients = dict(zip(leaves, found, strict=True))
        for group, members in here.items():
            for k, point in enumerate(members):
                step = [
                    weight[point] * gradients[hook_point][k].to(scores[0].dtype)
                    for hook_point in group
                ]
                old = sums[point.index]
                sums[point.index] = [a + b for a, b in zip(old, step, strict=True)] if old else step
    influences = []
    for span, gradient in zip(spans, sums, strict=True):
        group, row = question.paths[span.path]
        deltas = [question.lines.delta[hook_point][row] for hook_point in group]
        influences.append(tuple(g * delta for g, delta in zip(gradient, deltas, strict=True)))
    return influences


def _scores(question: _Question, places: Sequence[tuple[int, float]]) -> list[float]:
    """The target at points (path, α)."""
    points = [
        _Point(index, *question.paths[path], alpha) for index, (path, alpha) in enumerate(places)
    ]
    values = [0.0] * len(points)
    for here in _chunked(question, points):
        with torch.no_grad():
            _, scores = _passed(question, here)
        for members, reached in zip(here.values(), scores, strict=True):
            for point, value in zip(members, reached.tolist(), strict=True):
                values[point.index] = value
    return values


@dataclass(frozen=True, eq=False)
class _Point:
    """One point of a path."""

    index: int
    """Which span, or which place, asked for it."""
    group: Group
    row: int
    alpha: float


def _chunked(question: _Question, points: Sequence[_Point]) -> Iterator[dict[Group, list[_Point]]]:
    """The points that share a pass, as memory allows."""
    layers = [point.group[0].layer for point in points]
    for chunk in chunks(question.model, question.inputs, layers, question.memory):
        here: dict[Group, list[_Point]] = {}
        for point in points[chunk]:
            here.setdefault(point.group, []).append(point)
        yield here


def _passed(
    question: _Question, points: dict[Group, list[_Point]]
) -> tuple[dict[HookPoint, Tensor], list[Float[Tensor, " _"]]]:
    """The neurons put in at each hook point, and the target at each group's points."""
    leaves: dict[HookPoint, Tensor] = {}
    branches = []
    for group, here in points.items():
        rows = torch.tensor([point.row for point in here])
        alphas = torch.tensor([point.alpha for point in here], dtype=torch.float64)
        for hook_point in group:
            leaves[hook_point] = question.lines.at(hook_point, rows, alphas).requires_grad_()
        branches.append(Branch(group, rows, lambda hook_point, _: leaves[hook_point]))
    _, scores = branch_scores(question.model, question.inputs, branches, question.target)
    return leaves, scores
