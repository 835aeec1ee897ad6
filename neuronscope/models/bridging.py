"""From a Hugging Face model to a TransformerLens bridge, and back.

Hooks are set on the plain Hugging Face modules, because a bridge changes the model that it wraps
(names, attention kernel), and for some architectures it holds copies of the matrices, which
training would update instead of the originals. A bridge is therefore built on a clone that shares
every parameter.
"""

import copy
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def supported(hf: PreTrainedModel) -> bool:
    """Whether TransformerLens supports a model's architecture."""
    from transformer_lens.factories.architecture_adapter_factory import SUPPORTED_ARCHITECTURES

    return type(hf).__name__ in SUPPORTED_ARCHITECTURES


def bridge(
    hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str
) -> "TransformerBridge":
    """A bridge on a clone that shares every parameter with the model.

    Args:
        name: The name of the model in the bridge's configuration.
    """
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    clone = copy.deepcopy(hf, {id(p): p for p in hf.parameters()})
    # The bridge loads a second tokenizer by the name of this one, so the tokenizer is passed only
    # if its name is a directory.
    folder = tokenizer.name_or_path
    named = bool(folder) and Path(folder).is_dir()
    return build_bridge_from_module(
        clone,
        type(hf).__name__,
        hf_config=clone.config,
        tokenizer=tokenizer if named else None,
        model_name=name,
    )


def model_inside(bridge: "TransformerBridge") -> PreTrainedModel:
    """The plain model inside a bridge; every parameter stays shared.

    Raises:
        ValueError: If the bridge's logits differ from those of the model inside it, because weights
            were folded or copies of them were trained.
    """
    hf = _plain(bridge.original_model)
    probe = torch.arange(3, 11, device=next(hf.parameters()).device)[None]
    mask = torch.ones_like(probe)
    with torch.no_grad():
        theirs = bridge(probe, attention_mask=mask, use_cache=False)
        ours = hf(probe, attention_mask=mask, use_cache=False).logits
    if not torch.allclose(theirs, ours, rtol=1e-3, atol=1e-3 * float(ours.abs().max())):
        raise ValueError(
            f"The bridge's logits differ from those of the {type(hf).__name__} inside it by up "
            f"to {float((theirs - ours).abs().max()):.1e}: weights were folded (compatibility "
            "mode), or copies of them were trained. Load the checkpoint itself."
        )
    return hf


def _plain(module: nn.Module) -> Any:
    """A copy of a bridged module tree without the bridge's wrappers, sharing every parameter."""
    wrapped = module._modules.get("_original_component")
    if wrapped is not None:
        return _plain(wrapped)
    plain = copy.copy(module)
    plain._modules = {
        name: None if child is None else _plain(child) for name, child in module._modules.items()
    }
    plain._forward_hooks, plain._forward_pre_hooks = OrderedDict(), OrderedDict()
    return plain
