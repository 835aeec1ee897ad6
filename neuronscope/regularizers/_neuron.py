"""The penalty on neurons: A_i = Σ_k h_ik · ∂F/∂h_ik, all sites and layers in one graph.

arXiv 2509.22263: Eq. 6 with Eq. 1 summed over positions. Two passes: the first computes A and the
penalized change; the second computes the gradient of Σ_i v_i A_i with v = 2 · 1[A_t < 0] ·
(A_t − A_a) held constant, which equals the gradient of R.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Portion, Step
from neuronscope.regularizers._base import Memory, Penalty
from neuronscope.regularizers._chosen import CHOSEN
from neuronscope.regularizers._negative import ATTRIBUTION, Tally, penalized_change
from neuronscope.regularizers._neuron_gradient import Coefficients, differentiable, gradient_of
from neuronscope.regularizers._scores import mean_over_step, scores_of
from neuronscope.regularizers._settings import NeuronInfluence
from neuronscope.regularizers._weights import START, with_weights

Table = dict[str, Float[Tensor, "row layer _"]]
"""By site. One row for the whole batch; with per-item, one row for each fact of this process."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Attributions of one step."""

    attribution: Table

    whole: dict[str, Float[Tensor, "1 layer _"]]
    """Attributions summed over the facts of all processes."""

    mean_target: float

    precision: torch.dtype
    """The lowest precision in which neurons were computed."""


def neuron_penalty(rule: NeuronInfluence, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
    """The penalty on neurons at one step, and the memory after it.

    At the first step the penalty is zero, unless the anchor is the reference.
    """
    now = measure(rule, step)
    anchors = _anchors(rule, step, memory)
    tally, changes, later = Tally(), Table(), Memory()
    for site, table in now.attribution.items():
        chosen = memory.get(CHOSEN + site, torch.ones_like(now.whole[site][0], dtype=torch.bool))
        negative = (now.whole[site] < 0) & chosen
        tally.negative += float(negative.sum())
        tally.units += int(chosen.sum())
        anchor = anchors.get(ATTRIBUTION + site)
        if anchor is not None:
            changes[site] = penalized_change(table - anchor, negative, rule.one_sided)
            tally.value += _total(rule, step, changes[site].square())
            tally.growth += _total(rule, step, (-changes[site]).clamp(min=0))
        if rule.anchor != "reference":
            later[ATTRIBUTION + site] = rule.next(anchor, table)
    doubled = {site: 2 * change for site, change in changes.items()}
    coefficients = Coefficients(doubled, _rows(rule, step))
    gradient = gradient_of(rule, step, coefficients, now.precision) if tally.value > 0 else {}
    kept = {key: tensor for key, tensor in memory.items() if key.startswith((START, CHOSEN))}
    return Penalty(gradient, tally.value, tally.figures(now.mean_target)), kept | later


def measure(rule: NeuronInfluence, step: Step) -> Measured:
    """A_t of every neuron, from one forward pass and one backward pass to the neurons only."""
    model = step.training.model
    # In a small step a process may have no facts; its tables then have no rows.
    rows = {site: [_no_rows(model, site)] for site in rule.places}
    scores: dict[Portion, Tensor] = {}
    precisions = {model.dtype}
    for portion in step.forget:
        with torch.enable_grad(), differentiable(rule, step, portion) as neurons:
            scores[portion] = scores_of(model, portion, rule.explained).sum()
        slopes = torch.autograd.grad(scores[portion], list(neurons.values()))
        for site in rule.places:
            layers = [
                (neuron.detach() * slope).sum(dim=1, dtype=scores[portion].dtype).to(model.device)
                for (hook_point, neuron), slope in zip(neurons.items(), slopes, strict=True)
                if hook_point.site == site
            ]
            rows[site].append(torch.stack(layers, dim=1))
        precisions |= {neuron.dtype for neuron in neurons.values()}
    tables = {site: torch.cat(parts) for site, parts in rows.items()}
    whole = {site: step.total(table.sum(dim=0, keepdim=True)) for site, table in tables.items()}
    return Measured(
        attribution=tables if rule.reduce == "per-item" else whole,
        whole=whole,
        mean_target=mean_over_step(step, scores),
        precision=max(precisions, key=lambda dtype: torch.finfo(dtype).eps),
    )


def _anchors(rule: NeuronInfluence, step: Step, memory: Memory) -> Memory:
    """A_a by site; empty at the first step, unless the anchor is the reference."""
    if rule.anchor != "reference":
        return memory
    with with_weights(step.training.model, memory):
        before = measure(rule, step)
    return {ATTRIBUTION + site: table for site, table in before.attribution.items()}


def _no_rows(model: HookedModel, site: str) -> Float[Tensor, "0 layer _"]:
    hook_points = model.hook_points_at(site)
    return torch.zeros(0, len(hook_points), hook_points[0].width, device=model.device)


def _total(rule: NeuronInfluence, step: Step, terms: Float[Tensor, "row layer _"]) -> float:
    total = terms.sum()
    return float(step.total(total) if rule.reduce == "per-item" else total)


def _rows(rule: NeuronInfluence, step: Step) -> dict[Portion, slice]:
    """The rows of each portion's facts among all facts of this process."""
    if rule.reduce == "batch-sum":
        return {}
    rows, start = {}, 0
    for portion in step.forget:
        rows[portion] = slice(start, start + len(portion.facts))
        start += len(portion.facts)
    return rows
