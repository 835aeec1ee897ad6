"""Expose the neurons of mixture-of-experts layers to hooks.

transformers keeps a layer's experts in three-dimensional parameters, so no module has the neurons
as its input. This experts implementation, equal to the default one, passes them through an
identity module that can be hooked like any other.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

IMPLEMENTATION = "neuronscope"


class ExpertNeurons(nn.Module):
    """Identity on the neurons of all experts of one layer, concatenated.

    Takes and returns `[batch * pos, expert * neuron]`. The neurons of experts that a token is not
    routed to are zero, and changing them has no effect.
    """

    def __init__(self, experts: int, neurons: int):
        super().__init__()
        self.experts = experts
        self.width = experts * neurons

    def forward(self, neurons: Tensor) -> Tensor:
        return neurons


def find_experts(parts: dict[str, nn.Module]) -> nn.Module | None:
    """The module among a decoder layer's `parts` that holds the matrices of all experts, if any."""
    for module in parts.values():
        down = module._parameters.get("down_proj")
        if down is not None and down.dim() == 3 and "gate_up_proj" in module._parameters:
            return module
    return None


def expose_experts(hf: PreTrainedModel, experts: nn.Module) -> ExpertNeurons:
    """Route `experts` through an `ExpertNeurons` module, and return it.

    Raises:
        ValueError: If the layout of these experts' matrices is not supported.
    """
    if experts.is_transposed or experts.has_bias or experts.has_post_expert_norm:
        raise ValueError(
            f"{type(experts).__name__} stores its experts transposed, with biases or with separate "
            "norms: its neurons cannot be located."
        )
    if not isinstance(experts._modules.get("neurons"), ExpertNeurons):
        count, _, width = experts.get_parameter("down_proj").shape
        experts.add_module("neurons", ExpertNeurons(count, width))
    ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, _forward)
    hf.set_experts_implementation(IMPLEMENTATION)
    opened = experts.get_submodule("neurons")
    assert isinstance(opened, ExpertNeurons)
    return opened


def _forward(experts: nn.Module, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
    """The experts' output for tokens `[token, d_model]` routed to `chosen` `[token, top_k]`."""
    tokens, top_k = chosen.shape
    gate_up, down = experts.get_parameter("gate_up_proj"), experts.get_parameter("down_proj")
    opened = experts.get_submodule("neurons")
    assert isinstance(opened, ExpertNeurons)
    width = down.shape[-1]
    # Every experts class has this method, but type checkers take it for a tensor.
    apply_gate = cast(Callable[[Tensor], Tensor], experts._apply_gate)

    expert = chosen.flatten()
    order = expert.argsort(stable=True)
    back = order.argsort()
    counts = torch.bincount(expert, minlength=opened.experts).tolist()
    inputs = hidden.repeat_interleave(top_k, dim=0)[order].split(counts)
    neurons = torch.cat(
        [apply_gate(F.linear(x, gate_up[i])) for i, x in enumerate(inputs) if len(x)]
    )[back].view(tokens, top_k, width)

    if opened._forward_pre_hooks:
        index = chosen[..., None].expand(-1, -1, width)
        dense = neurons.new_zeros(tokens, opened.experts, width).scatter(1, index, neurons)
        neurons = opened(dense.flatten(1)).view(tokens, opened.experts, width).gather(1, index)

    flat = neurons.reshape(tokens * top_k, width)[order].split(counts)
    outputs = torch.cat([F.linear(x, down[i]) for i, x in enumerate(flat) if len(x)])[back]
    mixed = outputs.view(tokens, top_k, -1) * weights[..., None].to(outputs.dtype)
    return mixed.sum(dim=1).to(hidden.dtype)
