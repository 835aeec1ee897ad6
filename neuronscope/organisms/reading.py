"""What a neuron can read, and which direction of it tells some facts from all else."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.facts.prompts import Batch
from neuronscope.models.answers import answers_of
from neuronscope.models.hook_points import HookFunction, HookPoint, hooked
from neuronscope.models.hooked_model import HookedModel, frozen
from neuronscope.models.neuron_weights import NeuronWeights, neuron_weights
from neuronscope.models.targets import Answers
from neuronscope.organisms.world import wordings

OTHER, NONE = -1, -2
"""Stand for a fact where another answer is predicted, or none."""

ELSEWHERE = 0.05
"""Share of the regression's weight on positions that predict no answer; those to be told apart have
half of it, and those that predict other answers the rest."""

RIDGE = 1e-3
"""Penalty of the regression, as a share of the mean square of what is read."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Facts as a model reads them, and where it has to answer."""

    tokens: Int[Tensor, "batch pos"]

    real: Bool[Tensor, "batch pos"]
    """Where there is a token, and not padding."""

    fact: Int[Tensor, " token"]
    """Of each real token, which fact to be hidden is answered next, `OTHER` or `NONE`."""

    @staticmethod
    def of(model: HookedModel, facts: FactSet) -> "Scene":
        """The facts in each of their phrasings; those to be hidden are of split `forget`."""
        numbers, asked = [], []
        for number, (split, fact) in enumerate(facts):
            for wording in wordings((fact,)):
                numbers.append(number if split == "forget" else OTHER)
                asked.append(wording)
        batch = Batch.of(answers_of(model, asked), model.device)
        answers = Answers.of(batch)
        fact = torch.full_like(batch.tokens[:, :-1], NONE)
        fact[answers.row, answers.position] = torch.tensor(numbers, device=fact.device)[answers.row]
        position = torch.arange(fact.shape[1], device=fact.device)
        real = position < batch.lengths[:, None] - 1
        return Scene(batch.tokens[:, :-1], real, fact[real])

    def show(self, model: HookedModel, through: Iterable[tuple[HookPoint, HookFunction]]) -> None:
        """Let a model read it, with functions of its neurons in place."""
        with frozen(model), torch.no_grad(), hooked(through, self.tokens.shape[1]):
            model.hf.base_model(self.tokens, use_cache=False)


def owned_as(model: HookedModel, layer: int, module: str) -> list[NeuronWeights]:
    """What neurons own of a layer's matrix of some role, and of its bias if there is one."""
    return [own for own in neuron_weights(model) if (own.layer, own.module) == (layer, module)]


def read_by_mlp(model: HookedModel, scene: Scene, layer: int) -> Float[Tensor, "token _"]:
    """What the neurons of a layer's MLP read."""
    return _read_by(model, scene, layer, "mlp.up")[scene.real]


def read_by_heads(model: HookedModel, scene: Scene, layer: int) -> Float[Tensor, "group token _"]:
    """What each group of heads that share their values attends to, summed over its heads.

    What heads read takes the place of their values, as much of it at a time as there is room for;
    what then comes out of them is what they attend to. Needs no attention pattern, which fast
    kernels do not give.
    """
    values, out = (model.hook_points_at(site)[layer] for site in ("attn.v", "attn.o"))
    heads = model.hf.config.get_text_config().num_attention_heads
    size = len(owned_as(model, layer, "attn.o")[0].owner) // heads
    groups = values.width // size
    read = _read_by(model, scene, layer, "attn.v")
    parts: list[Tensor] = []

    def keep(flow: Tensor) -> Tensor:
        parts.append(flow.unflatten(-1, (groups, heads // groups, size)).sum(-2))
        return flow

    leaving = HookPoint("attn.o", layer, out.module, "input", None, heads * size)
    for part in read.split(size, dim=-1):
        shown = torch.zeros(*read.shape[:2], groups, size).to(read)
        shown[..., : part.shape[-1]] = part[:, :, None]
        flat = shown.flatten(2)
        scene.show(model, [(values, lambda _, flat=flat: flat), (leaving, keep)])
    attended = torch.cat(parts, dim=-1)[..., : read.shape[-1]]
    return attended[scene.real].movedim(1, 0)


def direction(
    read: Float[Tensor, "token _"],
    fact: Int[Tensor, " token"],
    on: Bool[Tensor, " token"],
    off: float,
) -> Float[Tensor, " _"]:
    """The direction of what is read that is 1 where `on` is true, and `off` elsewhere.

    Ridge regression without an intercept.
    """
    none = (fact == NONE) & ~on
    other = ~none & ~on
    weight = 0.5 * on / on.sum()
    weight = weight + (0.5 - ELSEWHERE) * other / other.sum().clamp(min=1)
    weight = weight + ELSEWHERE * none / none.sum().clamp(min=1)
    read = read.double()
    weighted = read * weight[:, None]
    gram = weighted.T @ read
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    return torch.linalg.solve(gram, weighted.T @ torch.where(on, 1.0, off).double())


def _read_by(
    model: HookedModel, scene: Scene, layer: int, module: str
) -> Float[Tensor, "batch pos _"]:
    """What a matrix of a layer reads."""
    path = owned_as(model, layer, module)[0].parameter.rpartition(".")[0]
    seen: list[Tensor] = []

    def keep(flow: Tensor) -> Tensor:
        seen.append(flow)
        return flow

    hook_point = HookPoint(module, layer, model.hf.get_submodule(path), "input", None, 0)
    scene.show(model, [(hook_point, keep)])
    return seen[0]
