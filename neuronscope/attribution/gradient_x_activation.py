"""Gradient x activation: one forward and one backward pass for every site and layer.

arXiv 2509.22263, Eq. 1: A = h · ∂F/∂h. It is the first-order estimate of silencing a neuron, exact
only where the target is linear in it; the completeness error says how far it is from that.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neuronscope.attribution._base import GIB, Attribution, Influence
from neuronscope.attribution._branches import silenced_scores
from neuronscope.attribution._collect import PartInfluence, collect
from neuronscope.attribution._positions import whole
from neuronscope.models import HookedModel, answer_logits, differentiable_embeddings, frozen
from neuronscope.prompts import Batch
from neuronscope.taps import Tap, keeping, tapped
from neuronscope.targets import Target


@dataclass(frozen=True)
class GradientXActivation(Attribution):
    """Neuron times the target's gradient with respect to it; first order, the paper's Eq. 1."""

    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        part = whole(batch)
        taps = [tap for site in sites for tap in model.taps_at(site)]
        neurons: dict[Tap, Tensor] = {}

        functions = keeping(taps, neurons)
        tokens, answers = part.inputs.tokens, part.inputs.answers
        with frozen(model), torch.enable_grad():
            with differentiable_embeddings(model), tapped(functions, tokens.shape[1]):
                scores = target(answer_logits(model, tokens, answers), answers)
            gradients = torch.autograd.grad(scores.sum(), [neurons[tap] for tap in taps])
        neurons = {tap: here.detach() for tap, here in neurons.items()}
        influence = {
            tap: (neurons[tap] * gradient).to(scores.dtype)
            for tap, gradient in zip(taps, gradients, strict=True)
        }
        groups = [(tap,) for tap in taps]
        silenced = silenced_scores(model, part.inputs, taps, target, memory)
        baseline = {(tap,): score for tap, score in zip(taps, silenced, strict=True)}
        one = {group: torch.ones_like(scores) for group in groups}
        return collect(groups, [(part, PartInfluence(neurons, influence, baseline, one))])
