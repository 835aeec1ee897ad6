"""Which weights belong to which neuron.

An MLP neuron owns its input weights (its row of gate and up, and their biases) and its output
weights (its column of down). A query, key or value neuron of attention owns its row; a value neuron
also owns the columns of the output projection that read it, one for each head that shares it. No
entry of a parameter has more than one owner; embeddings, norms and output biases have none.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from neuronscope.models.hook_points import HookPoint, decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.moe import ExpertNeurons

OWNING_SITES = ("mlp.post", "attn.q", "attn.k", "attn.v")
"""The sites whose neurons own weights."""


@dataclass(frozen=True, eq=False)
class NeuronWeights:
    """Which entries of one parameter belong to which neurons of one site in one layer."""

    parameter: str
    """Its name in the Hugging Face model."""

    module: str
    """The matrix's role, e.g. `mlp.down` or `attn.o`."""

    site: str
    layer: int

    axes: tuple[int, ...]
    """The parameter's axes that index neurons; two for experts."""

    owner: Int[Tensor, "..."]
    """The neuron at each place along those axes; -1 for places of a fused parameter with another
    site or role, e.g. the keys for `attn.q`, or the up-projection for `mlp.gate`."""

    width: int
    """Number of neurons at the site."""

    def per_neuron(self, values: Float[Tensor, "..."]) -> Float[Tensor, " neuron"]:
        """Sum values shaped like the parameter over each neuron's entries, in double precision."""
        along = values.movedim(self.axes, tuple(range(len(self.axes))))
        rest = tuple(range(len(self.axes), along.dim()))
        sums = along.sum(rest, dtype=torch.float64) if rest else along.double()
        owner = self.owner.to(values.device)
        owned = owner >= 0
        result = torch.zeros(self.width, dtype=torch.float64, device=values.device)
        return result.index_add(0, owner[owned], sums[owned])

    def places(
        self, parameter: Float[Tensor, "..."], chosen: Bool[Tensor, " neuron"]
    ) -> tuple[Float[Tensor, "..."], tuple[Int[Tensor, " place"], ...]]:
        """A view of the parameter with the neurons' axes first, and the chosen neurons' indices.

        Indexing the view with them gives, or sets, the weights of the chosen neurons.
        """
        view = parameter.movedim(self.axes, tuple(range(len(self.axes))))
        owner = self.owner.to(chosen.device)
        owned = chosen[owner.clamp(min=0)] & (owner >= 0)
        return view, tuple(index.to(parameter.device) for index in owned.nonzero(as_tuple=True))


def neuron_weights(model: HookedModel) -> tuple[NeuronWeights, ...]:
    """All weights that belong to neurons, by layer."""
    names = {id(parameter): name for name, parameter in model.hf.named_parameters()}
    found: list[NeuronWeights] = []
    for layer in range(model.n_layers):
        at = {
            hook_point.site: hook_point
            for hook_point in model.hook_points
            if hook_point.layer == layer
        }
        found += _of_mlp(model, names, at)
        found += _of_attention(model, names, at)
    return tuple(found)


def module_of(model: HookedModel, name: str) -> str:
    """The role of a parameter that no neuron owns: embedding, unembedding, norm, bias or other."""
    parameter = model.hf.get_parameter(name)
    if parameter is model.hf.get_input_embeddings()._parameters.get("weight"):
        return "embedding"
    head = model.hf.get_output_embeddings()
    if head is not None and parameter is head._parameters.get("weight"):
        return "unembedding"
    if name.endswith("bias"):
        return "bias"
    return "norm" if parameter.dim() == 1 else "other"


def layer_of(model: HookedModel, name: str) -> int | None:
    """The decoder layer that contains a parameter; None if no layer does."""
    parameter = model.hf.get_parameter(name)
    for index, layer in enumerate(decoder_layers(model.hf)):
        if any(parameter is own for own in layer.parameters()):
            return index
    return None


def _of_mlp(
    model: HookedModel, names: dict[int, str], at: dict[str, HookPoint]
) -> list[NeuronWeights]:
    down = at["mlp.post"]
    if isinstance(down.module, ExpertNeurons):
        return _of_experts(model, names, down)
    owner = torch.arange(down.width)
    found = [_matrix(names, down, "mlp.down", "mlp.post", owner, "input")]
    for site in ("mlp.gate", "mlp.up"):
        if site in at:
            found += _rows(names, at[site], site, "mlp.post")
    return found


def _of_experts(
    model: HookedModel, names: dict[int, str], hook_point: HookPoint
) -> list[NeuronWeights]:
    assert isinstance(hook_point.module, ExpertNeurons)
    path = next(name for name, module in model.hf.named_modules() if module is hook_point.module)
    experts = model.hf.get_submodule(path.rpartition(".")[0])
    table = torch.arange(hook_point.width).view(hook_point.module.experts, -1)
    nobody = torch.full_like(table, -1)
    gate_up = names[id(experts.get_parameter("gate_up_proj"))]
    down = names[id(experts.get_parameter("down_proj"))]
    return [
        NeuronWeights(name, module, "mlp.post", hook_point.layer, axes, owner, hook_point.width)
        for name, module, axes, owner in (
            (down, "mlp.down", (0, 2), table),
            (gate_up, "mlp.gate", (0, 1), torch.cat([table, nobody], dim=1)),
            (gate_up, "mlp.up", (0, 1), torch.cat([nobody, table], dim=1)),
        )
    ]


def _of_attention(
    model: HookedModel, names: dict[int, str], at: dict[str, HookPoint]
) -> list[NeuronWeights]:
    found: list[NeuronWeights] = []
    for site in ("attn.q", "attn.k", "attn.v"):
        if site in at:
            found += _rows(names, at[site], site, site)
    if "attn.o" in at and "attn.v" in at:
        out, value = at["attn.o"].module, at["attn.v"]
        heads = model.hf.config.get_text_config().num_attention_heads
        columns = out.get_parameter("weight").shape[_axis(out, "input")]
        size = columns // heads
        groups = value.width // size
        if groups * size == value.width and heads % groups == 0:
            column = torch.arange(columns)
            shared = (column // size) // (heads // groups) * size + column % size
            owner = HookPoint("attn.v", value.layer, out, "input", None, value.width)
            found.append(_matrix(names, owner, "attn.o", "attn.v", shared, "input"))
    return found


def _rows(
    names: dict[int, str], hook_point: HookPoint, module: str, site: str
) -> list[NeuronWeights]:
    """The weight and bias that compute the neurons."""
    size = hook_point.module.get_parameter("weight").shape[_axis(hook_point.module, "output")]
    owner = torch.full((size,), -1)
    owner[slice(None) if hook_point.columns is None else hook_point.columns] = torch.arange(
        hook_point.width
    )
    found = [_matrix(names, hook_point, module, site, owner, "output")]
    bias = hook_point.module._parameters.get("bias")
    if bias is not None:
        found.append(
            NeuronWeights(
                names[id(bias)], module, site, hook_point.layer, (0,), owner, hook_point.width
            )
        )
    return found


def _matrix(
    names: dict[int, str],
    hook_point: HookPoint,
    module: str,
    site: str,
    owner: Int[Tensor, " entry"],
    side: str,
) -> NeuronWeights:
    weight = hook_point.module.get_parameter("weight")
    axes = (_axis(hook_point.module, side),)
    return NeuronWeights(
        names[id(weight)], module, site, hook_point.layer, axes, owner, hook_point.width
    )


def _axis(module: nn.Module, side: str) -> int:
    """The input or output axis of a module's weight matrix."""
    # The matrix of GPT-2's Conv1D is transposed with respect to nn.Linear.
    return int((side == "input") != (type(module).__name__ == "Conv1D"))
