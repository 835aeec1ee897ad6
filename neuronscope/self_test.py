"""Does this model do what recording relies on? Run once at load; fails loudly.

Hooks that fire twice, never, or on something that is not a neuron give numbers that look right.
"""

from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.models import HookedModel, differentiable_embeddings, frozen
from neuronscope.taps import Tap, keeping, tapped

LENGTH = 6


def self_test(model: HookedModel) -> None:
    """Check a model's taps, gradients, padding and bridge on a few made-up tokens.

    Raises:
        ValueError: Naming the check that failed, and by how much.
    """
    vocabulary = model.hf.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocabulary, (2, LENGTH), generator=generator).to(model.device)
    with frozen(model):
        logits, neurons = _record(model, tokens)
        _check_identity(model, tokens, logits)
        _check_down_projection(model, neurons)
        _check_gradients(model, tokens)
        _check_padding(model, tokens, logits)
        if model.bridgeable:
            _check_bridge(model, tokens, logits, neurons)


def _logits(model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> Tensor:
    mask = torch.ones_like(tokens)
    return model.hf(input_ids=tokens, attention_mask=mask, use_cache=False).logits


def _record(
    model: HookedModel, tokens: Int[Tensor, "batch pos"]
) -> tuple[Tensor, dict[Tap, Float[Tensor, "batch pos neuron"]]]:
    neurons: dict[Tap, Tensor] = {}
    fired: Counter[Tap] = Counter()

    def keep(tap: Tap) -> Callable[[Tensor], Tensor]:
        def through(here: Tensor) -> Tensor:
            neurons[tap] = here
            fired[tap] += 1
            return here

        return through

    with torch.no_grad(), tapped([(tap, keep(tap)) for tap in model.taps], tokens.shape[1]):
        logits = _logits(model, tokens)
    for tap in model.taps:
        shape = (*tokens.shape, tap.width)
        if fired[tap] != 1 or neurons[tap].shape != shape:
            _fail(
                model,
                f"{tap.site} of layer {tap.layer} fired {fired[tap]} times in one pass, with shape "
                f"{tuple(neurons[tap].shape) if tap in neurons else None}; expected once, {shape}",
            )
    return logits, neurons


def _check_identity(model: HookedModel, tokens: Int[Tensor, "batch pos"], logits: Tensor) -> None:
    with torch.no_grad():
        bare = _logits(model, tokens)
    if not torch.equal(bare, logits):
        _fail(model, f"hooks that change nothing moved the logits by {_apart(bare, logits):.1e}")


def _check_down_projection(
    model: HookedModel, neurons: dict[Tap, Float[Tensor, "batch pos neuron"]]
) -> None:
    written = {tap.layer: neurons[tap] for tap in model.taps if tap.site == "mlp.down"}
    for tap in model.taps_at("mlp.post"):
        if tap.layer not in written:
            continue
        matrix = tap.module.get_parameter("weight")
        bias = dict(tap.module.named_parameters()).get("bias")
        conv = type(tap.module).__name__ == "Conv1D"
        rebuilt = F.linear(neurons[tap], matrix.T if conv else matrix, bias)
        _compare(model, rebuilt, written[tap.layer], f"neurons of layer {tap.layer} times W_down")


def _check_gradients(model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> None:
    neurons: dict[Tap, Tensor] = {}

    functions = keeping(model.taps, neurons)
    with torch.enable_grad(), differentiable_embeddings(model), tapped(functions, tokens.shape[1]):
        top = _logits(model, tokens)[:, -1].float().log_softmax(dim=-1).amax()
        for tap, here in neurons.items():
            if not (top.requires_grad and here.requires_grad):
                _fail(model, f"no gradient passes through {tap.site} of layer {tap.layer}")
        found = torch.autograd.grad(top, list(neurons.values()), allow_unused=True)
    for tap, gradient in zip(neurons, found, strict=True):
        if gradient is None or not gradient.isfinite().all() or not gradient.any():
            _fail(model, f"no usable gradient reaches {tap.site} of layer {tap.layer}")


def _check_padding(model: HookedModel, tokens: Int[Tensor, "batch pos"], logits: Tensor) -> None:
    short = tokens[:1, : LENGTH // 2]
    with torch.no_grad():
        alone = _logits(model, short)
    _compare(model, logits[:1, : LENGTH // 2], alone, "logits of a padded row")


def _check_bridge(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    logits: Tensor,
    neurons: dict[Tap, Float[Tensor, "batch pos neuron"]],
) -> None:
    bridge = model.bridge
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[Tensor, object], None]:
        def through(here: Tensor, hook: object) -> None:
            del hook
            seen[layer] = here

        return through

    names = [(f"blocks.{i}.mlp.hook_post", keep(i)) for i in range(model.n_layers)]
    # In a mixture of experts the bridge's hook_post is the layer's output, not its neurons.
    with torch.no_grad(), bridge.hooks(fwd_hooks=[] if model.experts else names):
        theirs = bridge(tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    _compare(model, theirs, logits, "the bridge's logits")
    for tap in model.taps_at("mlp.post"):
        if tap.layer in seen:
            here = seen[tap.layer].view_as(neurons[tap])
            _compare(model, here, neurons[tap], f"the bridge's neurons of layer {tap.layer}")


def _compare(model: HookedModel, ours: Tensor, other: Tensor, what: str) -> None:
    """Equal up to what another order of summing does: the bridge's attention is another kernel."""
    allowed = {torch.float64: 1e-5, torch.float32: 1e-3}.get(other.dtype, 0.1)
    apart = _apart(ours, other) / max(float(other.float().abs().max()), 1e-6)
    if not apart <= allowed:
        _fail(model, f"{what} differ by {apart:.1e} of the largest, expected at most {allowed:.0e}")


def _apart(ours: Tensor, other: Tensor) -> float:
    return float((ours.float() - other.float()).abs().max())


def _fail(model: HookedModel, what: str) -> None:
    raise ValueError(f"{model.source} fails the self-test: {what}. No number of it can be trusted.")
