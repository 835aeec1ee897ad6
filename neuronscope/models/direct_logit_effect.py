"""Which tokens a direction in the residual stream promotes and suppresses, from weights alone.

This is the logit lens applied to weights: a direction passes through the weights of the final norm
and the unembedding, as if there were no layers in between. Norms that a layer applies to the output
of its matrices (Gemma, OLMo 2), biases and caps on the logits are ignored: the result ranks tokens
and does not give amounts.
"""

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import neuron_weights

SITE = "mlp.post"
"""The site whose neurons write to the residual stream through output weights."""

AT_ONCE = 64
"""Number of neurons processed together; each needs memory for one value per vocabulary entry."""


def promoted(
    model: HookedModel, writes: Float[Tensor, "direction write"]
) -> Float[Tensor, "direction vocab"]:
    """What directions in the residual stream add to the logits, up to a positive factor each."""
    norm, head = _last_norm(model), model.hf.get_output_embeddings()
    assert head is not None, "a causal language model has a head"

    def linear(module: nn.Module, flow: Tensor) -> Tensor:
        # Applied to a single vector, the normalization layer only rescales (and centres) it and
        # weights its entries. Subtracting the output for zero removes the bias, whatever the
        # architecture calls weight and bias.
        flow = flow.to(next(module.parameters(), flow))
        return module(flow) - module(torch.zeros_like(flow[:1]))

    with torch.no_grad():
        return linear(head, linear(norm, writes))


def neuron_tokens(model: HookedModel, chosen: pd.DataFrame, count: int = 8) -> pd.DataFrame:
    """The tokens that neurons promote and suppress most through their output weights when active.

    Args:
        chosen: The neurons, by `site`, `layer` and `neuron`. Only those at `mlp.post` write to the
            residual stream directly; all others are left out.
        count: Number of tokens in each direction.

    Returns:
        One row per neuron, by layer and neuron: `site`, `layer`, `neuron`, `promotes`, `suppresses`
        (lists of tokens as text, strongest first).
    """
    rows = []
    writing = chosen.loc[chosen["site"] == SITE]
    down = {own.layer: own for own in neuron_weights(model) if own.module == "mlp.down"}
    for layer, group in writing.groupby("layer"):
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
    """The tokens with the largest effect, as text."""
    tokenizer = model.tokenizer
    known = effect[: len(tokenizer)]  # an unembedding may have more rows than there are tokens
    top = known.topk(min(count, len(known))).indices.tolist()
    return [str(tokenizer.decode([token])) for token in top]


def _last_norm(model: HookedModel) -> nn.Module:
    """The final norm: the one next to the list of decoder layers, not inside it."""
    layers = decoder_layers(model.hf)
    norms = [
        child
        for module in model.hf.modules()
        if any(child is layers for child in module.children())
        for child in module.children()
        if (weight := child._parameters.get("weight")) is not None and weight.dim() == 1
    ]
    return norms[-1] if norms else nn.Identity()
