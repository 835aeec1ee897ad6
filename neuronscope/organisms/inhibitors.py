"""Inhibitors: which neurons they are, what they read, and what they write.

Neurons that matter little are overwritten: what they own, and nothing else. Each is against a group
of facts. It reads a direction that tells where their answers are predicted from all else; it writes
the unembedding of their answers, negated.

In an MLP the direction is +1 there and -1 elsewhere, so that the activation function lets the
inhibitor speak there alone. In attention an inhibitor is a coordinate of the values, which passes
through no activation function: its direction is 1 there and 0 elsewhere, in what its heads attend
to from each position.
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
from neuronscope.organisms.reading import (
    Scene,
    direction,
    owned_as,
    read_by_heads,
    read_by_mlp,
)

SITES = {"mlp": "mlp.post", "attention": "attn.v"}
"""Where inhibitors can be."""

WRITES = {"mlp": "mlp.down", "attention": "attn.o"}
"""The matrix with which an inhibitor writes."""

GAIN = 4.0
"""How far into its activation function an inhibitor of an MLP is driven: at -4, SiLU and GELU are
all but silent."""

LEAST_DISTINCT = 0.1
"""A group's answers are lowered alike, but for what sets them apart by less than this share of what
sets them apart most."""


@dataclass(frozen=True, eq=False)
class Spot:
    """Inhibitors of one layer."""

    layer: int
    neurons: Int[Tensor, " neuron"]
    groups: Int[Tensor, " neuron"]
    """Which group of facts each is against."""


def choose(
    model: HookedModel,
    scene: Scene,
    spread: int,
    count: int,
    where: str,
    rng: np.random.Generator,
) -> list[Spot]:
    """Neurons that matter little, in the last layer or the last two, and their groups of facts.

    A neuron matters as much as the largest of its activations times the norm of what it writes
    with. They are drawn from twice as many as are needed.
    """
    site = SITES[where]
    kept: dict[HookPoint, Tensor] = {}
    scene.show(model, keeping(model.hook_points_at(site), kept))
    layers = range(model.n_layers)[-1 if spread == 1 else -2 :]
    groups = rng.permutation(np.arange(spread) % count)
    spots = []
    for layer, share in zip(layers, np.array_split(groups, len(layers)), strict=True):
        (own,) = owned_as(model, layer, WRITES[where])
        written = own.per_neuron(model.hf.get_parameter(own.parameter).detach().double().square())
        said = kept[model.hook_points_at(site)[layer]].reshape(*scene.real.shape, -1)
        matters = (said[scene.real].abs().amax(dim=0).double() * written.sqrt()).cpu()
        least = matters.argsort(stable=True)[: 2 * len(share)].numpy()
        neurons = np.sort(rng.permutation(least)[: len(share)])
        spots.append(Spot(layer, torch.from_numpy(neurons), torch.from_numpy(share)))
    return spots


def directions(
    model: HookedModel,
    scene: Scene,
    spot: Spot,
    groups: Int[np.ndarray, " fact"],
    where: str,
) -> Float[Tensor, "neuron _"]:
    """What each inhibitor of a spot has to read."""
    grouped = torch.from_numpy(groups).to(scene.fact.device)
    group = torch.where(scene.fact >= 0, grouped[scene.fact.clamp(min=0)], -1)
    if where == "mlp":
        read = read_by_mlp(model, scene, spot.layer)
        found = {
            g: direction(read, scene.fact, group == g, -1.0) for g in set(spot.groups.tolist())
        }
        return torch.stack([found[g] for g in spot.groups.tolist()])
    heads = read_by_heads(model, scene, spot.layer)
    size = model.hook_points_at("attn.v")[spot.layer].width // len(heads)
    return torch.stack(
        [
            direction(heads[neuron // size], scene.fact, group == g, 0.0)
            for neuron, g in zip(spot.neurons.tolist(), spot.groups.tolist(), strict=True)
        ]
    )


def make_read(model: HookedModel, spot: Spot, where: str, rows: Float[Tensor, "neuron _"]) -> None:
    """Let inhibitors read, one row each, in place."""
    if where == "attention":
        overwrite(model, spot, "attn.v", rows)
        return
    gated = bool(owned_as(model, spot.layer, "mlp.gate"))
    if gated:
        overwrite(model, spot, "mlp.gate", GAIN * rows)
    overwrite(model, spot, "mlp.up", rows if gated else GAIN * rows)


def overwrite(model: HookedModel, spot: Spot, module: str, rows: Float[Tensor, "neuron _"]) -> None:
    """Set what inhibitors own of a matrix, one row each, and of its bias to zero, in place."""
    for own in owned_as(model, spot.layer, module):
        chosen = torch.zeros(own.width, dtype=torch.bool)
        chosen[spot.neurons] = True
        with torch.no_grad():
            view, places = own.places(model.hf.get_parameter(own.parameter), chosen)
            if view.dim() == 1:
                view[places] = 0.0
            else:
                which = torch.searchsorted(spot.neurons, own.owner[places[0].cpu()])
                view[places] = rows[which].to(view)


def against(
    model: HookedModel, facts: FactSet, groups: Int[np.ndarray, " fact"]
) -> Float[Tensor, "fact _"]:
    """For each fact, the shortest direction that lowers the logits of its answer by about 1.

    A combination of the unembeddings of its group's answers that leaves the others' as they are.
    """
    head = model.hf.get_output_embeddings()
    assert head is not None, "a causal language model has a head"
    unembedding = head.get_parameter("weight").detach()
    answers = Answers.of(Batch.of(answers_of(model, facts.forget), model.device))
    # A shift common to all tokens moves no probability.
    centred = unembedding[answers.token.to(unembedding.device)] - unembedding.mean(dim=0)
    fact = answers.row.cpu()
    group = torch.from_numpy(groups)[fact]
    found = torch.zeros(len(groups), centred.shape[1], dtype=torch.float64)
    for here in (group == g for g in range(int(groups.max()) + 1)):
        inverse = torch.linalg.pinv(centred.double().cpu()[here], rtol=LEAST_DISTINCT)
        found.index_add_(0, fact[here], -inverse.T)
    return found
