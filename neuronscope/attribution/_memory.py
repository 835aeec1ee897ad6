"""The memory that a pass through a model needs."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import differentiable_embeddings, frozen

_measured: WeakKeyDictionary[HookedModel, float] = WeakKeyDictionary()


def saved_bytes(model: HookedModel) -> float:
    """Bytes that autograd keeps per position and layer with frozen parameters, measured once."""
    if model not in _measured:
        _measured[model] = _measure(model)
    return _measured[model]


def _measure(model: HookedModel) -> float:
    length, total = 16, 0
    weights = {p.untyped_storage().data_ptr() for p in model.hf.parameters()}

    def count(tensor: Tensor) -> Tensor:
        nonlocal total
        if tensor.untyped_storage().data_ptr() not in weights:
            total += tensor.numel() * tensor.element_size()
        return tensor

    tokens = torch.zeros(1, length, dtype=torch.long, device=model.device)
    mask = torch.ones_like(tokens)
    # The first call may be inside `torch.no_grad()`.
    with torch.enable_grad(), frozen(model), differentiable_embeddings(model):
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            hidden = model.hf.base_model(
                tokens, attention_mask=mask, use_cache=False
            ).last_hidden_state
        del hidden
    return total / length / model.n_layers
