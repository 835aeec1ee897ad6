"""Copies of a model: to be trained, to be held against, or to put an adapter on."""

import copy
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from neuronscope.models.hook_points import HookPoint
from neuronscope.models.hooked_model import HookedModel


def training_dtype(hf: PreTrainedModel) -> torch.dtype:
    """At least single precision: half precision would round small updates away."""
    return hf.dtype if hf.dtype == torch.float64 else torch.float32


def copied(
    hf: PreTrainedModel, device: torch.device | None, dtype: torch.dtype, share: bool
) -> PreTrainedModel:
    """The same modules with parameters of their own, in evaluation mode.

    Args:
        device: Where the copy goes; None leaves it where the model is.
        share: Let the copy's parameters lie in the model's own memory wherever device and dtype
            allow it. They are then not to be changed.
    """

    def parameter(p: nn.Parameter) -> nn.Parameter:
        values = p.detach().to(device or p.device, dtype, copy=not share)
        return nn.Parameter(values, requires_grad=not share)

    clone = copy.deepcopy(hf, {id(p): parameter(p) for p in hf.parameters()})
    if device is not None:
        torch.nn.Module.to(clone, device)
    return clone.eval()


def hooked_alike(model: HookedModel, hf: PreTrainedModel) -> tuple[HookPoint, ...]:
    """The hook points of `model` in a copy of it, also where adapters stand around its modules."""
    names = {module: name for name, module in model.hf.named_modules()}
    return tuple(
        replace(hook_point, module=hf.get_submodule(names[hook_point.module]))
        for hook_point in model.hook_points
    )


def reference_of(
    model: HookedModel, device: torch.device | None, dtype: torch.dtype
) -> HookedModel:
    """The model before, for passes without gradient, in the model in training's precision.

    It lies in the given model's own memory, which training leaves as it is, unless that is on
    another device or in half precision. Every process has a whole one.
    """
    hf = copied(model.hf, device, dtype, share=True)
    return replace(model, hf=hf, hook_points=hooked_alike(model, hf))
