"""The inputs of neurons, and input directions that separate some facts from everything else."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuronscope.facts.fact import FactSet
from neuronscope.facts.prompts import Batch
from neuronscope.models.answers import answers_of
from neuronscope.models.hook_points import HookFunction, HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import NeuronWeights, neuron_weights
from neuronscope.models.passes import frozen
from neuronscope.models.targets import Answers
from neuronscope.organisms.world import wordings

OTHER, NONE = -1, -2
"""Labels of positions that predict the answer of another fact, or no answer."""

ELSEWHERE = 0.05
"""Share of the regression's weight on positions that predict no answer; the positions to separate
have half of the weight, and positions that predict other answers the rest."""

RIDGE = 1e-3
"""Penalty of the regression, as a share of the mean square of the inputs."""


@dataclass(frozen=True, eq=False)
class LabelledTokens:
    """Facts as tokens, with the fact whose answer each position predicts."""

    tokens: Int[Tensor, "batch pos"]

    real: Bool[Tensor, "batch pos"]
    """Which positions are not padding."""

    fact: Int[Tensor, " token"]
    """For each real token, the fact to hide whose answer comes next, `OTHER` or `NONE`."""

    @staticmethod
    def of(model: HookedModel, facts: FactSet) -> "LabelledTokens":
        """The facts in all their phrasings; those to hide are in split `forget`."""
        numbers, phrased = [], []
        for number, (split, fact) in enumerate(facts):
            for wording in wordings((fact,)):
                numbers.append(number if split == "forget" else OTHER)
                phrased.append(wording)
        batch = Batch.of(answers_of(model, phrased), model.device)
        answers = Answers.of(batch)
        fact = torch.full_like(batch.tokens[:, :-1], NONE)
        fact[answers.row, answers.position] = torch.tensor(numbers, device=fact.device)[answers.row]
        position = torch.arange(fact.shape[1], device=fact.device)
        real = position < batch.lengths[:, None] - 1
        return LabelledTokens(batch.tokens[:, :-1], real, fact[real])

    def run(self, model: HookedModel, hooks: Iterable[tuple[HookPoint, HookFunction]]) -> None:
        """Run a model on the tokens with hooks in place."""
        with frozen(model), torch.no_grad(), hooked(hooks, self.tokens.shape[1]):
            model.hf.base_model(self.tokens, use_cache=False)


def weights_of(model: HookedModel, layer: int, module: str) -> list[NeuronWeights]:
    """The neurons' weights in a layer's matrix of a given role, and in its bias if it has one."""
    return [own for own in neuron_weights(model) if (own.layer, own.module) == (layer, module)]


def mlp_inputs(model: HookedModel, inputs: LabelledTokens, layer: int) -> Float[Tensor, "token _"]:
    """The inputs of the neurons of a layer's MLP."""
    return _matrix_inputs(model, inputs, layer, "mlp.up")[inputs.real]


def head_inputs(
    model: HookedModel, inputs: LabelledTokens, layer: int
) -> Float[Tensor, "group token _"]:
    """The inputs that each group of heads with common values attends to, summed over its heads.

    The values are replaced by the inputs of the value matrix, in parts of the size of a head; the
    outputs of the heads are then the attended inputs. This needs no attention pattern, which fast
    kernels do not return.
    """
    values, out = (model.hook_points_at(site)[layer] for site in ("attn.v", "attn.o"))
    heads = model.hf.config.get_text_config().num_attention_heads
    size = len(weights_of(model, layer, "attn.o")[0].owner) // heads
    groups = values.width // size
    read = _matrix_inputs(model, inputs, layer, "attn.v")
    parts: list[Tensor] = []

    def keep(output: Tensor) -> Tensor:
        parts.append(output.unflatten(-1, (groups, heads // groups, size)).sum(-2))
        return output

    outputs = HookPoint("attn.o", layer, out.module, "input", None, heads * size)
    for part in read.split(size, dim=-1):
        replaced = torch.zeros(*read.shape[:2], groups, size).to(read)
        replaced[..., : part.shape[-1]] = part[:, :, None]
        flat = replaced.flatten(2)
        inputs.run(model, [(values, lambda _, flat=flat: flat), (outputs, keep)])
    attended = torch.cat(parts, dim=-1)[..., : read.shape[-1]]
    return attended[inputs.real].movedim(1, 0)


def separating_direction(
    read: Float[Tensor, "token _"],
    fact: Int[Tensor, " token"],
    on: Bool[Tensor, " token"],
    off: float,
) -> Float[Tensor, " _"]:
    """The direction on which inputs project to 1 where `on` is true, and to `off` elsewhere.

    It is found by ridge regression without an intercept.
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


def _matrix_inputs(
    model: HookedModel, inputs: LabelledTokens, layer: int, module: str
) -> Float[Tensor, "batch pos _"]:
    """The inputs of a matrix of a layer."""
    path = weights_of(model, layer, module)[0].parameter.rpartition(".")[0]
    hook_point = HookPoint(module, layer, model.hf.get_submodule(path), "input", None, 0)
    kept: dict[HookPoint, Tensor] = {}
    inputs.run(model, keeping([hook_point], kept))
    return kept[hook_point]
