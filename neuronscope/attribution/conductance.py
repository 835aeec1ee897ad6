"""Conductance: integrated gradients of the input embeddings, attributed to each neuron.

Dhamdhere, Sundararajan & Yan, *How Important Is a Neuron?*, arXiv 1805.12233. Along the straight
path from baseline embeddings e' to the prompt's e,

    A = ∫ ∂F/∂h · dh,      approximated by Σ_k  g_k (h_{k+1} − h_k)        (left rule)
                                            or  (g_k + g_{k+1})/2 · (…)    (trapezoid)

The neurons of a layer do not account for all paths through the model: the residual stream bypasses
them, so their sum is not F(e) − F(e'). The completeness error shows how much they miss.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuronscope.attribution._base import GIB, Attribution, Influence
from neuronscope.attribution._baselines import check_reference, reference_tokens
from neuronscope.attribution._branches import Pass
from neuronscope.attribution._collect import PartInfluence, collect
from neuronscope.attribution._memory import saved_bytes
from neuronscope.attribution._positions import whole
from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits, frozen
from neuronscope.models.targets import Target


@dataclass(frozen=True)
class Conductance(Attribution):
    """The part of the embeddings' integrated gradients that passes through each neuron."""

    steps: int = 32
    """Number of steps on the path of the embeddings."""

    rule: Literal["left", "trapezoid"] = "trapezoid"
    """The gradient of a step: that at its left end (as in Captum), or the mean of both ends."""

    baseline: Literal["mean", "zero", "reference"] = "mean"
    """The embeddings at the start of the path: the vocabulary's mean, zero (where norms are
    singular, so errors are large in models with RMSNorm), or those of the `reference` prompt.
    """

    reference: str = ""
    """The prompt at the start of the path; a shorter one is extended by its last token."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"Expected at least one step, got steps={self.steps}.")
        check_reference(self.baseline, self.reference)

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
        rows, length = part.inputs.tokens.shape
        fits = int(memory / (rows * length * model.n_layers * saved_bytes(model)))
        alphas = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        # Neighbouring chunks share a point, so that both ends of every step are available.
        size = max(2, fits)
        influence: dict[HookPoint, Tensor] = {}
        scores, neurons = [], {}
        with frozen(model):
            begin = self._begin(model, length)
            for start in range(0, self.steps, size - 1):
                chunk = alphas[start : start + size]
                targets, neurons, gradients = _at(
                    model, part.inputs, begin, chunk, hook_points, target
                )
                scores.append(targets)
                for hook_point in hook_points:
                    step = neurons[hook_point].diff(dim=0)
                    gradient = gradients[hook_point][:-1]
                    if self.rule == "trapezoid":
                        gradient = (gradient + gradients[hook_point][1:]) / 2
                    flow = (step * gradient).to(targets.dtype).sum(dim=0)
                    influence[hook_point] = (
                        influence[hook_point] + flow if hook_point in influence else flow
                    )
        groups = [(hook_point,) for hook_point in hook_points]
        baseline = {group: scores[0][0] for group in groups}
        nodes = {group: torch.full_like(scores[0][0], self.steps + 1) for group in groups}
        ends = {hook_point: values[-1] for hook_point, values in neurons.items()}
        return collect(groups, [(part, PartInfluence(ends, influence, baseline, nodes))])

    def _begin(self, model: HookedModel, length: int) -> Float[Tensor, "#pos d_model"]:
        """The embeddings at the start of the path, as the embedding module returns them."""
        embed = model.hf.get_input_embeddings()
        with torch.no_grad():
            if self.baseline == "reference":
                return embed(reference_tokens(model, self.reference, length))
            size = embed.get_parameter("weight").shape[0]
            everything = embed(torch.arange(size, device=model.device))
            mean = everything.mean(dim=0, keepdim=True)
        return mean if self.baseline == "mean" else torch.zeros_like(mean)


def _at(
    model: HookedModel,
    inputs: Pass,
    begin: Float[Tensor, "#pos d_model"],
    alphas: Float[Tensor, " alpha"],
    hook_points: Sequence[HookPoint],
    target: Target,
) -> tuple[
    Float[Tensor, "alpha batch"],
    dict[HookPoint, Float[Tensor, "alpha batch pos _"]],
    dict[HookPoint, Float[Tensor, "alpha batch pos _"]],
]:
    """At each α of the path: the target, the neurons, and the target's gradient at them."""
    batch, length = inputs.tokens.shape
    neurons: dict[HookPoint, Tensor] = {}

    def interpolate(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del module, args
        by_row = alphas.to(output).repeat_interleave(batch)[:, None, None]
        return (begin + by_row * (output - begin)).detach().requires_grad_()

    rows = torch.arange(batch, device=inputs.tokens.device).repeat(len(alphas))
    answers = inputs.answers.take(rows)
    hook = model.hf.get_input_embeddings().register_forward_hook(interpolate)
    try:
        with torch.enable_grad(), hooked(keeping(hook_points, neurons), length):
            scores = target(answer_logits(model, inputs.tokens[rows], answers), answers)
            found = torch.autograd.grad(
                scores.sum(), [neurons[hook_point] for hook_point in hook_points]
            )
    finally:
        hook.remove()
    shape = (len(alphas), batch)
    return (
        scores.detach().view(shape),
        {hook_point: values.detach().unflatten(0, shape) for hook_point, values in neurons.items()},
        {
            hook_point: gradient.unflatten(0, shape)
            for hook_point, gradient in zip(hook_points, found, strict=True)
        },
    )
