"""The shared part of attacks that change weights: which weights, and a copy to change."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.training.copies import hooked_alike


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight matrix of a decoder layer, or the stacked matrices of its experts."""

    name: str
    """Parameter name in the Hugging Face model."""

    weight: nn.Parameter

    inputs: int
    """The input axis."""


def matrices(model: HookedModel) -> Iterator[Matrix]:
    """The matrices of the decoder layers, without embeddings, output head, norms and biases."""
    inside = {id(p) for layer in decoder_layers(model.hf) for p in layer.parameters()}
    for path, module in model.hf.named_modules():
        # GPT-2's Conv1D stores the transpose of what nn.Linear stores.
        inputs = 0 if type(module).__name__ == "Conv1D" else -1
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) in inside and weight.dim() > 1:
                inside.remove(id(weight))
                yield Matrix(f"{path}.{name}", weight, inputs)


def copied(model: HookedModel) -> HookedModel:
    """A copy that shares no weights with the model, in the same precision."""
    hf = copy.deepcopy(model.hf).eval().requires_grad_(False)
    return replace(model, hf=hf, hook_points=hooked_alike(model, hf), wrapper=None)


def write(model: HookedModel, name: str, values: Float[Tensor, "..."]) -> None:
    """Set a parameter of a copy, in place."""
    with torch.no_grad():
        model.hf.get_parameter(name).copy_(values)
