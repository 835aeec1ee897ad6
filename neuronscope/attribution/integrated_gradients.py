"""Integrated gradients of the target along a straight path of neurons.

Sundararajan, Taly & Yan, *Axiomatic Attribution for Deep Networks*, arXiv 1703.01365, applied to
hidden neurons h with baseline b (knowledge neurons, arXiv 2104.08696, are the case of the last
position and a zero baseline):

    A = (h − b) ∫₀¹ ∂F(b + α (h − b)) / ∂h dα,      Σ A = F(h) − F(b)   (completeness)

Each layer moves alone (the later ones are computed from it), or all layers of a site move together
(each layer's neurons are then an input of their own). The integral is taken by Gauss-Legendre
quadrature; where it does not add up, the path is divided.
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
from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import HookPoint
from neuronscope.models.hooked_model import HookedModel, frozen
from neuronscope.models.targets import Target


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Integrated gradients along the path from a baseline to the recorded neurons; complete."""

    steps: int = 4
    """Gauss-Legendre nodes on a path, and on each part where it is divided. Four, divided where
    they do not add up, come closer than eight that are not, at two thirds of the cost."""

    tolerance: float = 1e-3
    """A path is divided until its sum misses less than this of the target's difference."""

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
            hook_points = model.hook_points_at(site)
            groups += (
                [hook_points]
                if self.path == "joint"
                else [(hook_point,) for hook_point in hook_points]
            )
        with frozen(model):
            done = [
                (part, _integrate(self, model, part, groups, target, memory))
                for part in parts(model, batch, self.positions)
            ]
        return collect(groups, done)


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


def _integrate(
    method: IntegratedGradients,
    model: HookedModel,
    part: Part,
    groups: Sequence[Group],
    target: Target,
    memory: int,
) -> PartInfluence:
    hook_points = [hook_point for group in groups for hook_point in group]
    scores, neurons = observe(model, part.inputs, hook_points, target)
    length = part.start + part.moved.shape[1]
    delta = {}
    for hook_point in hook_points:
        base = method.baseline(model, length, hook_point)
        base = base if len(base) == 1 else base[part.start :]
        delta[hook_point] = (neurons[hook_point] - base.to(neurons[hook_point])) * part.moved[
            ..., None
        ].to(neurons[hook_point])
    lines = _Lines(neurons, delta)
    paths = [(group, row) for group in groups for row in range(len(scores))]
    question = _Question(model, part.inputs, paths, lines, target, memory)
    integrals = integrate(
        lambda spans: _along(question, spans, method.steps),
        lambda points: _scores(question, points),
        [float(scores[row]) for _, row in paths],
        method.steps,
        method.tolerance,
        method.max_steps,
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
