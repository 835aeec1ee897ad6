"""Localizes the neurons that store the facts to forget, excluding those that only favour answers.

The influence of a neuron on a fact is A_i(x, y) = max_k h_{i,k} · ∂F(y|x)/∂h_{i,k}, with k over
positions (arXiv 2502.19207 and 2509.22263: F = P). Its influence on the same answer after the
prompts of other facts is *superficial*: such a neuron promotes the answer regardless of the prompt.
"""

import random
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuronscope.attribution import over_positions
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hook_points import HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import neuron_weights
from neuronscope.models.passes import answer_logits, differentiable_embeddings, frozen
from neuronscope.models.targets import Answers, Target
from neuronscope.objectives._training_state import Gradients, TrainingState

ROWS = 8
"""Batch size, in facts."""


def facts_with_other_answers(fact: Fact, facts: FactSet) -> list[Fact]:
    """The facts of the retain and forget sets that have a different answer."""
    return [
        other
        for other in (*facts.retain, *facts.forget)
        if other.answer.strip() != fact.answer.strip()
    ]


def knowledge_scores(
    training: TrainingState, facts: FactSet, target: Target, penalty: float, others: int, seed: int
) -> Float[Tensor, "layer neuron"]:
    """Mean over the forget set of A(x, y) − α · mean_j max(0, A(x_j, y)), in double precision.

    Args:
        penalty: α.
        others: Number of other prompts x_j drawn for each fact; all of them if there are fewer.
    """
    pairs = list(_weighted_pairs(facts, penalty, others, random.Random(seed)))
    total = torch.zeros(())
    for start in range(0, len(pairs), ROWS):
        chunk = pairs[start : start + ROWS]
        tokenizer, device = training.model.tokenizer, training.model.device
        encoded = [encode(fact, tokenizer, training.form, answer) for fact, answer, _ in chunk]
        influences = influence(training.model, Batch.of(encoded, device), target)
        for scores, (*_, weight) in zip(influences, chunk, strict=True):
            total = total + weight * (scores if weight > 0 else scores.clamp(min=0))
    return total / len(facts.forget)


def _weighted_pairs(
    facts: FactSet, penalty: float, others: int, rng: random.Random
) -> Iterator[tuple[Fact, str, float]]:
    """Prompt, answer and weight of every fact, and of its answer after other prompts."""
    for fact in facts.forget:
        yield fact, fact.answer, 1.0
        if penalty == 0:
            continue
        pool = facts_with_other_answers(fact, facts)
        drawn = rng.sample(pool, min(others, len(pool)))
        for other in drawn:
            yield other, fact.answer, -penalty / len(drawn)


def influence(
    model: HookedModel, batch: Batch, target: Target
) -> Float[Tensor, "batch layer neuron"]:
    """Maximum of h · ∂F/∂h over positions at `mlp.post`, in double precision on the CPU."""
    hook_points = model.hook_points_at("mlp.post")
    tokens, answers = batch.tokens[:, :-1], Answers.of(batch)
    neurons: dict[HookPoint, Tensor] = {}
    with frozen(model), torch.enable_grad(), differentiable_embeddings(model):
        with hooked(keeping(hook_points, neurons), tokens.shape[1]):
            score = target(answer_logits(model, tokens, answers), answers).sum()
        gradients = torch.autograd.grad(score, [neurons[hook_point] for hook_point in hook_points])
    real = torch.arange(tokens.shape[1], device=tokens.device) < batch.lengths[:, None] - 1
    layers = []
    for hook_point, gradient in zip(hook_points, gradients, strict=True):
        _, largest, _ = over_positions(neurons[hook_point].detach() * gradient, real)
        layers.append(largest.double().cpu())
    return torch.stack(layers, dim=1)


def largest(scores: Float[Tensor, "layer neuron"], share: float) -> Bool[Tensor, "layer neuron"]:
    """Mask of the highest-scoring share of neurons over all layers; at least one neuron."""
    count = max(round(share * scores.numel()), 1)
    marked = torch.zeros(scores.numel(), dtype=torch.bool)
    marked[scores.flatten().topk(count).indices] = True
    return marked.view(scores.shape)


def weight_masks(model: HookedModel, chosen: Bool[Tensor, "layer neuron"]) -> Gradients:
    """Per parameter, ones at the weights of the chosen neurons of `mlp.post`, zeros elsewhere."""
    masks: Gradients = {}
    for own in neuron_weights(model):
        if own.site == "mlp.post" and bool(chosen[own.layer].any()):
            parameter = model.hf.get_parameter(own.parameter)
            mask = masks.setdefault(own.parameter, torch.zeros_like(parameter.detach()))
            view, places = own.places(mask, chosen[own.layer])
            view[places] = 1.0
    return masks
