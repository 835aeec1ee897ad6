"""Gradient x activation: one backward pass for all sites and layers together.

arXiv 2509.22263, Eq. 1: A = h · ∂F/∂h. This is the first-order estimate of the effect of ablating a
neuron, and exact only if the target is linear in the neuron; the completeness error shows how far
from linear it is, and takes one further, partial forward pass per site, layer and fact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.attribution._base import GIB, Attribution, Influence
from neuronscope.attribution._branches import silenced_scores
from neuronscope.attribution._collect import PartInfluence, collect
from neuronscope.attribution._positions import Part, whole
from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits, differentiable_embeddings, frozen
from neuronscope.models.targets import Target


@dataclass(frozen=True)
class GradientXActivation(Attribution):
    """Activation times the target's gradient: the first-order influence, Eq. 1 of the paper."""

    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        part = whole(batch)
        hook_points = [hook_point for site in sites for hook_point in model.hook_points_at(site)]
        scores, neurons, influence = products(model, part, hook_points, target)
        groups = [(hook_point,) for hook_point in hook_points]
        silenced = silenced_scores(model, part.inputs, hook_points, target, memory)
        baseline = {
            (hook_point,): score for hook_point, score in zip(hook_points, silenced, strict=True)
        }
        one = {group: torch.ones_like(scores) for group in groups}
        return collect(groups, [(part, PartInfluence(neurons, influence, baseline, one))])


def products(
    model: HookedModel, part: Part, hook_points: Sequence[HookPoint], target: Target
) -> tuple[
    Float[Tensor, " batch"],
    dict[HookPoint, Float[Tensor, "batch pos _"]],
    dict[HookPoint, Float[Tensor, "batch pos _"]],
]:
    """The target of each row, and activation and activation times gradient at every position."""
    neurons: dict[HookPoint, Tensor] = {}
    functions = keeping(hook_points, neurons)
    tokens, answers = part.inputs.tokens, part.inputs.answers
    with frozen(model), torch.enable_grad():
        with differentiable_embeddings(model), hooked(functions, tokens.shape[1]):
            scores = target(answer_logits(model, tokens, answers), answers)
        gradients = torch.autograd.grad(
            scores.sum(), [neurons[hook_point] for hook_point in hook_points]
        )
    neurons = {hook_point: values.detach() for hook_point, values in neurons.items()}
    influence = {
        hook_point: (neurons[hook_point] * gradient).to(scores.dtype)
        for hook_point, gradient in zip(hook_points, gradients, strict=True)
    }
    return scores.detach(), neurons, influence
