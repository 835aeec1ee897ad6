"""A self-test of every loaded model: does it behave as recording assumes?

Without it, hooks that fire twice, never, or on something that is not a neuron would give plausible
but wrong numbers.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.models.hook_points import HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import differentiable_embeddings, frozen

LENGTH = 6


def check_loaded_model(model: HookedModel) -> None:
    """Check a model's hook points, gradients, padding and bridge on a few random tokens.

    Raises:
        ValueError: If a check fails; the message says which, and by how much.
    """
    vocabulary = model.hf.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(vocabulary, (2, LENGTH), generator=generator).to(model.device)
    with frozen(model):
        logits, neurons = _record(model, tokens)
        _check_identity(model, tokens, logits)
        _check_down_projection(model, neurons)
        _check_fused_attention(model, tokens, logits, neurons)
        _check_gradients(model, tokens)
        _check_padding(model, tokens, logits)
        if model.bridgeable:
            _check_bridge(model, tokens, logits, neurons)


def _logits(model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> Tensor:
    mask = torch.ones_like(tokens)
    return model.hf(input_ids=tokens, attention_mask=mask, use_cache=False).logits


def _record(
    model: HookedModel, tokens: Int[Tensor, "batch pos"]
) -> tuple[Tensor, dict[HookPoint, Float[Tensor, "batch pos neuron"]]]:
    neurons: dict[HookPoint, Tensor] = {}
    fired: Counter[HookPoint] = Counter()

    def keep(hook_point: HookPoint) -> Callable[[Tensor], Tensor]:
        def through(flow: Tensor) -> Tensor:
            neurons[hook_point] = flow
            fired[hook_point] += 1
            return flow

        return through

    with (
        torch.no_grad(),
        hooked(
            [(hook_point, keep(hook_point)) for hook_point in model.hook_points], tokens.shape[1]
        ),
    ):
        logits = _logits(model, tokens)
    for hook_point in model.hook_points:
        shape = (*tokens.shape, hook_point.width)
        if fired[hook_point] != 1 or neurons[hook_point].shape != shape:
            seen = tuple(neurons[hook_point].shape) if hook_point in neurons else None
            _fail(
                model,
                f"{hook_point.site} of layer {hook_point.layer} fired {fired[hook_point]} times in "
                f"one pass, with shape {seen}; expected once, {shape}",
            )
    return logits, neurons


def _check_identity(model: HookedModel, tokens: Int[Tensor, "batch pos"], logits: Tensor) -> None:
    with torch.no_grad():
        bare = _logits(model, tokens)
    if not torch.equal(bare, logits):
        _fail(model, f"hooks that change nothing changed logits by {_apart(bare, logits):.1e}")


def _check_down_projection(
    model: HookedModel, neurons: dict[HookPoint, Float[Tensor, "batch pos neuron"]]
) -> None:
    written = {
        hook_point.layer: neurons[hook_point]
        for hook_point in model.hook_points
        if hook_point.site == "mlp.down"
    }
    for hook_point in model.hook_points_at("mlp.post"):
        if hook_point.layer not in written:
            continue
        matrix = hook_point.module.get_parameter("weight")
        bias = dict(hook_point.module.named_parameters()).get("bias")
        conv = type(hook_point.module).__name__ == "Conv1D"
        rebuilt = F.linear(neurons[hook_point], matrix.T if conv else matrix, bias)
        _compare(
            model,
            rebuilt,
            written[hook_point.layer],
            f"neurons of layer {hook_point.layer} times W_down and the output of the MLP",
        )


def _check_fused_attention(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    logits: Tensor,
    neurons: dict[HookPoint, Float[Tensor, "batch pos neuron"]],
) -> None:
    """Check which columns of a fused matrix are queries, keys and values.

    The first position attends only to itself. Its query therefore has no effect, its key affects
    only later positions, and the output of each head there is the value of that position.
    """
    fused = [hook_point for hook_point in neurons if hook_point.columns is not None]
    for site, unmoved in (("attn.q", slice(None)), ("attn.k", slice(1))):
        changed = [(hook_point, _other_first) for hook_point in fused if hook_point.site == site]
        if changed:
            with torch.no_grad(), hooked(changed, tokens.shape[1]):
                moved = _logits(model, tokens)
            what = f"logits with and without a change of the first {site}"
            _compare(model, moved[:, unmoved], logits[:, unmoved], what)
    outs = {
        hook_point.layer: replace(hook_point, side="input")
        for hook_point in neurons
        if hook_point.site == "attn.o"
    }
    passed: dict[HookPoint, Tensor] = {}
    with torch.no_grad(), hooked(keeping(outs.values(), passed), tokens.shape[1]):
        _logits(model, tokens)
    for hook_point in fused:
        if hook_point.site == "attn.v" and hook_point.layer in outs:
            read = passed[outs[hook_point.layer]][:, 0]
            values = _per_head(model, neurons[hook_point][:, 0], read.shape[-1])
            what = f"values of layer {hook_point.layer} and outputs of its heads"
            _compare(model, values, read, f"{what} at the first position")


def _other_first(neurons: Float[Tensor, "batch pos neuron"]) -> Float[Tensor, "batch pos neuron"]:
    """Replace the neurons at the first position by different values."""
    return torch.cat([1 - neurons[:, :1].flip(-1), neurons[:, 1:]], dim=1)


def _per_head(
    model: HookedModel, values: Float[Tensor, "batch neuron"], width: int
) -> Float[Tensor, "batch head_neuron"]:
    """The values that each head reads: heads may share them."""
    heads = model.hf.config.get_text_config().num_attention_heads
    groups = values.unflatten(-1, (-1, width // heads))
    return groups.repeat_interleave(heads // groups.shape[1], dim=1).flatten(1)


def _check_gradients(model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> None:
    neurons: dict[HookPoint, Tensor] = {}

    functions = keeping(model.hook_points, neurons)
    with torch.enable_grad(), differentiable_embeddings(model), hooked(functions, tokens.shape[1]):
        top = _logits(model, tokens)[:, -1].float().log_softmax(dim=-1).amax()
        for hook_point, values in neurons.items():
            if not (top.requires_grad and values.requires_grad):
                _fail(
                    model,
                    f"no gradient passes through {hook_point.site} of layer {hook_point.layer}",
                )
        gradients = torch.autograd.grad(top, list(neurons.values()), allow_unused=True)
    for hook_point, gradient in zip(neurons, gradients, strict=True):
        if gradient is None or not gradient.isfinite().all() or not gradient.any():
            _fail(
                model, f"no usable gradient reaches {hook_point.site} of layer {hook_point.layer}"
            )


def _check_padding(model: HookedModel, tokens: Int[Tensor, "batch pos"], logits: Tensor) -> None:
    short = tokens[:1, : LENGTH // 2]
    with torch.no_grad():
        alone = _logits(model, short)
    _compare(model, logits[:1, : LENGTH // 2], alone, "logits of a padded row and of the row alone")


def _check_bridge(
    model: HookedModel,
    tokens: Int[Tensor, "batch pos"],
    logits: Tensor,
    neurons: dict[HookPoint, Float[Tensor, "batch pos neuron"]],
) -> None:
    bridge = model.bridge
    seen: dict[int, Tensor] = {}

    def keep(layer: int) -> Callable[[Tensor, object], None]:
        def through(flow: Tensor, hook: object) -> None:
            del hook
            seen[layer] = flow

        return through

    names = [(f"blocks.{i}.mlp.hook_post", keep(i)) for i in range(model.n_layers)]
    # In a mixture of experts the bridge's hook_post is the layer's output, not its neurons.
    with torch.no_grad(), bridge.hooks(fwd_hooks=[] if model.experts else names):
        theirs = bridge(tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    _compare(model, theirs, logits, "the bridge's logits")
    for hook_point in model.hook_points_at("mlp.post"):
        if hook_point.layer in seen:
            _compare(
                model,
                seen[hook_point.layer].view_as(neurons[hook_point]),
                neurons[hook_point],
                f"the bridge's neurons of layer {hook_point.layer}",
            )


def _compare(model: HookedModel, ours: Tensor, other: Tensor, what: str) -> None:
    """Fail unless equal up to rounding: the bridge's attention kernel sums in a different order."""
    allowed = {torch.float64: 1e-5, torch.float32: 1e-3}.get(other.dtype, 0.1)
    apart = _apart(ours, other) / max(float(other.float().abs().max()), 1e-6)
    if not apart <= allowed:
        _fail(
            model,
            f"{what} differ by {apart:.1e} times the largest value, expected at most {allowed:.0e}",
        )


def _apart(ours: Tensor, other: Tensor) -> float:
    return float((ours.float() - other.float()).abs().max())


def _fail(model: HookedModel, what: str) -> None:
    raise ValueError(
        f"{model.source} fails the self-test: {what}. Its results could not be trusted."
    )
