"""Copies of a model: for training, as a reference, or as the base of an adapter."""

import copy
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedModel

from neuronscope.models.hook_points import HookPoint
from neuronscope.models.hooked_model import HookedModel


def training_dtype(hf: PreTrainedModel) -> torch.dtype:
    """Single precision or higher, because half precision would round small updates away."""
    return hf.dtype if hf.dtype == torch.float64 else torch.float32


def copied(
    hf: PreTrainedModel, device: torch.device | None, dtype: torch.dtype, share: bool
) -> PreTrainedModel:
    """Copy a model's modules and parameters; the copy is in evaluation mode.

    Args:
        device: The device of the copy; if None, that of the model.
        share: Let the copy share memory with the model wherever device and dtype allow it. The
            copy's parameters must then not be changed.
    """

    def parameter(p: nn.Parameter) -> nn.Parameter:
        values = p.detach().to(device or p.device, dtype, copy=not share)
        return nn.Parameter(values, requires_grad=not share)

    clone = copy.deepcopy(hf, {id(p): parameter(p) for p in hf.parameters()})
    if device is not None:
        torch.nn.Module.to(clone, device)
    return clone.eval()


def hooked_alike(model: HookedModel, hf: PreTrainedModel) -> tuple[HookPoint, ...]:
    """The hook points of `model` in a copy of it, whose modules may be wrapped in adapters."""
    names = {module: name for name, module in model.hf.named_modules()}
    return tuple(
        replace(hook_point, module=hf.get_submodule(names[hook_point.module]))
        for hook_point in model.hook_points
    )


def reference_of(
    model: HookedModel, device: torch.device | None, dtype: torch.dtype
) -> HookedModel:
    """The original model as a reference, in the precision of training, for passes without gradient.

    Unless the given model is on a different device or in half precision, the reference shares
    memory with it; training never changes the given model. Every process holds the complete
    reference.
    """
    hf = copied(model.hf, device, dtype, share=True)
    return replace(model, hf=hf, hook_points=hooked_alike(model, hf))
