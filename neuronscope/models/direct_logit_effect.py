"""Which tokens a direction in the residual stream promotes and suppresses, by weights alone.

The logit lens of weights: a direction goes through the last norm's weights and the unembedding, as
if no layer came between. A norm that a layer applies to what its own matrices write (Gemma, OLMo 2)
is left out, and so are biases and caps of the logits: ranks of tokens, not amounts, are meant.
"""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import neuron_weights

SITE = "mlp.post"
"""Where neurons write to the residual stream with weights of their own."""

AT_ONCE = 64
"""Neurons read out at once: each needs a row as long as the vocabulary."""


def promoted(
    model: HookedModel, writes: Float[Tensor, "direction write"]
) -> Float[Tensor, "direction vocab"]:
    """What directions in the residual stream add to the logits, each up to a positive factor."""
    norm, head = _last_norm(model), model.hf.get_output_embeddings()
    assert head is not None, "a causal language model has a head"

    def linear(module: nn.Module, flow: Tensor) -> Tensor:
        # A norm of one vector scales it and weighs its entries. Minus what comes of nothing, its
        # bias is gone; so no architecture's name for weight or bias is needed.
        flow = flow.to(next(module.parameters(), flow))
        return module(flow) - module(torch.zeros_like(flow[:1]))

    with torch.no_grad():
        return linear(head, linear(norm, writes))


def neuron_tokens(model: HookedModel, chosen: pd.DataFrame, count: int = 8) -> pd.DataFrame:
    """The tokens that active neurons promote most, and suppress most, by their output weights.

    Args:
        chosen: Which neurons: `site`, `layer`, `neuron`. Those of sites other than `mlp.post` write
            nothing to the residual stream by themselves and are left out.
        count: Number of tokens on each side.

    Returns:
        A row per neuron, by layer and neuron: `site`, `layer`, `neuron`, `promotes`, `suppresses`
        (lists of tokens as text, the strongest first).
    """
    rows = []
    here = chosen.loc[chosen["site"] == SITE]
    down = {own.layer: own for own in neuron_weights(model) if own.module == "mlp.down"}
    for layer, group in here.groupby("layer"):
        own = down[int(str(layer))]
        neurons = torch.tensor(sorted(set(group["neuron"].tolist())))
        wanted = torch.zeros(own.width, dtype=torch.bool)
        wanted[neurons] = True
        view, places = own.places(model.hf.get_parameter(own.parameter).detach(), wanted)
        writes = view[places].to(model.device)
        for some, directions in zip(neurons.split(AT_ONCE), writes.split(AT_ONCE), strict=True):
            for neuron, effect in zip(some.tolist(), promoted(model, directions), strict=True):
                most, least = (largest_tokens(model, sign * effect, count) for sign in (1, -1))
                rows.append((SITE, own.layer, neuron, most, least))
    return pd.DataFrame(rows, columns=["site", "layer", "neuron", "promotes", "suppresses"])


def largest_tokens(model: HookedModel, effect: Float[Tensor, " vocab"], count: int) -> list[str]:
    """The tokens of largest effect, as text. A head may have more rows than there are tokens."""
    words = model.tokenizer
    known = effect[: len(words)]
    top = known.topk(min(count, len(known))).indices.tolist()
    return [str(words.decode([token])) for token in top]


def _last_norm(model: HookedModel) -> nn.Module:
    """The norm that stands beside the decoder layers, not in them."""
    layers = decoder_layers(model.hf)
    norms = [
        child
        for module in model.hf.modules()
        if any(child is layers for child in module.children())
        for child in module.children()
        if (weight := child._parameters.get("weight")) is not None and weight.dim() == 1
    ]
    return norms[-1] if norms else nn.Identity()
