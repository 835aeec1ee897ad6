"""Inhibitors: the choice of their neurons, their input directions and their output directions.

Inhibitors replace neurons with little effect: only the weights of these neurons are overwritten.
Each inhibitor suppresses a group of facts. It reads a direction that separates the positions that
predict their answers from all other positions, and writes the negated unembedding of their answers.

In an MLP, the projection on the input direction is +1 at these positions and -1 elsewhere, so the
activation function passes the inhibitor's input only there. In attention, an inhibitor is a
coordinate of the values, which passes through no activation function: the projection of its heads'
attended inputs on the input direction is 1 at these positions and 0 elsewhere.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.facts.prompts import Batch
from neuronscope.models.answers import answers_of
from neuronscope.models.hook_points import HookPoint, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Answers
from neuronscope.organisms.inputs import (
    LabelledTokens,
    head_inputs,
    mlp_inputs,
    separating_direction,
    weights_of,
)

SITES = {"mlp": "mlp.post", "attention": "attn.v"}
"""The possible sites of inhibitors."""

WRITES = {"mlp": "mlp.down", "attention": "attn.o"}
"""The output matrix of inhibitors."""

GAIN = 4.0
"""The absolute input of the activation function of MLP inhibitors: at -4, SiLU and GELU are close
to zero."""

LEAST_DISTINCT = 0.1
"""Relative cutoff of the pseudo-inverse: directions with smaller singular values, in which a
group's answers hardly differ, are ignored."""


@dataclass(frozen=True, eq=False)
class LayerInhibitors:
    """The inhibitors of one layer."""

    layer: int
    neurons: Int[Tensor, " neuron"]
    groups: Int[Tensor, " neuron"]
    """The group of facts that each inhibitor suppresses."""


def choose(
    model: HookedModel,
    inputs: LabelledTokens,
    spread: int,
    count: int,
    where: str,
    rng: np.random.Generator,
) -> list[LayerInhibitors]:
    """Neurons with little effect in the last layer or the last two, with their groups of facts.

    The effect of a neuron is its largest activation times the norm of its output weights. Neurons
    are drawn at random from those with the smallest effects, of which twice as many as needed are
    considered.
    """
    site = SITES[where]
    kept: dict[HookPoint, Tensor] = {}
    inputs.run(model, keeping(model.hook_points_at(site), kept))
    layers = range(model.n_layers)[-1 if spread == 1 else -2 :]
    groups = rng.permutation(np.arange(spread) % count)
    chosen = []
    for layer, share in zip(layers, np.array_split(groups, len(layers)), strict=True):
        (own,) = weights_of(model, layer, WRITES[where])
        squares = own.per_neuron(model.hf.get_parameter(own.parameter).detach().double().square())
        activations = kept[model.hook_points_at(site)[layer]].reshape(*inputs.real.shape, -1)
        effects = (activations[inputs.real].abs().amax(dim=0).double() * squares.sqrt()).cpu()
        smallest = effects.argsort(stable=True)[: 2 * len(share)].numpy()
        neurons = np.sort(rng.permutation(smallest)[: len(share)])
        chosen.append(LayerInhibitors(layer, torch.from_numpy(neurons), torch.from_numpy(share)))
    return chosen


def input_directions(
    model: HookedModel,
    inputs: LabelledTokens,
    inhibitors: LayerInhibitors,
    groups: Int[np.ndarray, " fact"],
    where: str,
) -> Float[Tensor, "neuron _"]:
    """The input direction of each inhibitor of a layer."""
    grouped = torch.from_numpy(groups).to(inputs.fact.device)
    group = torch.where(inputs.fact >= 0, grouped[inputs.fact.clamp(min=0)], -1)
    if where == "mlp":
        read = mlp_inputs(model, inputs, inhibitors.layer)
        found = {
            g: separating_direction(read, inputs.fact, group == g, -1.0)
            for g in set(inhibitors.groups.tolist())
        }
        return torch.stack([found[g] for g in inhibitors.groups.tolist()])
    heads = head_inputs(model, inputs, inhibitors.layer)
    size = model.hook_points_at("attn.v")[inhibitors.layer].width // len(heads)
    return torch.stack(
        [
            separating_direction(heads[neuron // size], inputs.fact, group == g, 0.0)
            for neuron, g in zip(
                inhibitors.neurons.tolist(), inhibitors.groups.tolist(), strict=True
            )
        ]
    )


def overwrite_inputs(
    model: HookedModel, inhibitors: LayerInhibitors, where: str, rows: Float[Tensor, "neuron _"]
) -> None:
    """Set the input weights of inhibitors, one row each, in place."""
    if where == "attention":
        overwrite(model, inhibitors, "attn.v", rows)
        return
    gated = bool(weights_of(model, inhibitors.layer, "mlp.gate"))
    if gated:
        overwrite(model, inhibitors, "mlp.gate", GAIN * rows)
    overwrite(model, inhibitors, "mlp.up", rows if gated else GAIN * rows)


def overwrite(
    model: HookedModel, inhibitors: LayerInhibitors, module: str, rows: Float[Tensor, "neuron _"]
) -> None:
    """Set the weights of inhibitors in a matrix, one row each, and their biases to 0, in place."""
    for own in weights_of(model, inhibitors.layer, module):
        chosen = torch.zeros(own.width, dtype=torch.bool)
        chosen[inhibitors.neurons] = True
        with torch.no_grad():
            view, places = own.places(model.hf.get_parameter(own.parameter), chosen)
            if view.dim() == 1:
                view[places] = 0.0
            else:
                which = torch.searchsorted(inhibitors.neurons, own.owner[places[0].cpu()])
                view[places] = rows[which].to(view)


def suppressing_directions(
    model: HookedModel, facts: FactSet, groups: Int[np.ndarray, " fact"]
) -> Float[Tensor, "fact _"]:
    """For each fact, the shortest direction that lowers the logit of its answer by about 1.

    It is a combination of the unembeddings of the group's answers that leaves the logits of the
    group's other answers unchanged.
    """
    head = model.hf.get_output_embeddings()
    assert head is not None, "a causal language model has a head"
    unembedding = head.get_parameter("weight").detach()
    answers = Answers.of(Batch.of(answers_of(model, facts.forget), model.device))
    # A shift common to all tokens does not change probabilities.
    centred = unembedding[answers.token.to(unembedding.device)] - unembedding.mean(dim=0)
    fact = answers.row.cpu()
    group = torch.from_numpy(groups)[fact]
    found = torch.zeros(len(groups), centred.shape[1], dtype=torch.float64)
    for members in (group == g for g in range(int(groups.max()) + 1)):
        inverse = torch.linalg.pinv(centred.double().cpu()[members], rtol=LEAST_DISTINCT)
        found.index_add_(0, fact[members], -inverse.T)
    return found
