"""Locate the neurons of a Hugging Face model, and hook them.

A `HookPoint` is one site in one layer: a module, whether its input or its output holds the neurons,
and in which columns (query, key and value often share one matrix). Modules are located by their
names within the decoder layers; unknown names raise an error.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from neuronscope.models.moe import ExpertNeurons, expose_experts, find_experts
from neuronscope.models.sites import SITES

DOWN = ("mlp.down_proj", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.fc_out", "mlp.fc2", "fc2")
UP = ("mlp.up_proj", "mlp.c_fc", "mlp.dense_h_to_4h", "mlp.fc_in", "mlp.fc1", "fc1")
GATE = ("mlp.gate_proj",)
GATE_UP = ("mlp.gate_up_proj",)
ATTENTION = ("self_attn", "attn", "attention", "self_attention")
OUT = ("o_proj", "out_proj", "c_proj", "dense")
CONTIGUOUS_QKV = ("c_attn", "qkv_proj")
INTERLEAVED_QKV = ("query_key_value",)
CODEGEN_BLOCKS = 4
"""CodeGen's fused matrix has four blocks, each with its queries, values and keys in this order
(`mp_num` in the model's code, the number of cores that it was trained on)."""


@dataclass(frozen=True, eq=False)
class HookPoint:
    """One site in one layer."""

    site: str
    layer: int
    module: nn.Module
    side: Literal["input", "output"]
    columns: Int[Tensor, " neuron"] | None
    """The module's columns that are the neurons; None if all are."""
    width: int
    """Number of neurons."""


HookFunction = Callable[[Float[Tensor, "batch pos neuron"]], Float[Tensor, "batch pos neuron"]]


@contextmanager
def hooked(functions: Iterable[tuple[HookPoint, HookFunction]], length: int) -> Iterator[None]:
    """While active, replace the neurons at each hook point by a function of them.

    The rest of the model is computed from the tensor that the function returns, even if it returns
    its argument unchanged, so the gradient with respect to the neurons is the gradient with respect
    to the returned tensor.

    Args:
        functions: A hook point may appear more than once; its functions are applied in order.
        length: Number of positions. Some models flatten batch and position into one axis.
    """
    with ExitStack() as hooks:
        for hook_point, function in functions:
            hooks.callback(_hook(hook_point, function, length).remove)
        yield


def keeping(
    hook_points: Iterable[HookPoint], kept: dict[HookPoint, Tensor]
) -> list[tuple[HookPoint, HookFunction]]:
    """Functions for `hooked` that store the neurons of each hook point in `kept`, unchanged."""

    def keep(hook_point: HookPoint) -> HookFunction:
        def through(neurons: Tensor) -> Tensor:
            kept[hook_point] = neurons
            return neurons

        return through

    return [(hook_point, keep(hook_point)) for hook_point in hook_points]


def _hook(
    hook_point: HookPoint, function: HookFunction, length: int
) -> torch.utils.hooks.RemovableHandle:
    def through(flow: Tensor) -> Tensor:
        rows = flow.reshape(-1, length, flow.shape[-1])
        if hook_point.columns is None:
            return function(rows).reshape(flow.shape)
        columns = hook_point.columns.to(flow.device)
        whole = rows.clone()
        whole[..., columns] = function(rows[..., columns])
        return whole.reshape(flow.shape)

    def before(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        del module
        return (through(args[0]), *args[1:])

    def after(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        del module, args
        return through(output)

    if hook_point.side == "input":
        return hook_point.module.register_forward_pre_hook(before)
    return hook_point.module.register_forward_hook(after)


def decoder_layers(hf: PreTrainedModel) -> nn.ModuleList:
    """The list of decoder layers.

    Raises:
        ValueError: If no module list has as many modules as the config has layers.
    """
    depth = hf.config.get_text_config().num_hidden_layers
    for name, module in hf.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth and "vision" not in name:
            return module
    raise ValueError(
        f"{type(hf).__name__} has no list of {depth} decoder layers: its neurons cannot be located."
    )


def place_hook_points(hf: PreTrainedModel) -> tuple[HookPoint, ...]:
    """All hook points of a model, ordered by site and layer.

    Raises:
        ValueError: If a layer's MLP cannot be found, if layers differ in width, or if a layer or
            the model mixes routed experts with neurons that process every token.
    """
    hook_points: list[HookPoint] = []
    for layer, block in enumerate(decoder_layers(hf)):
        parts = dict(block.named_modules())
        hook_points += _mlp_hook_points(hf, layer, parts)
        hook_points += _attention_hook_points(hf, layer, parts)
    routed = {
        isinstance(hook_point.module, ExpertNeurons)
        for hook_point in hook_points
        if hook_point.site == "mlp.post"
    }
    if len(routed) > 1:
        raise ValueError(
            f"{type(hf).__name__} has routed experts in some layers but not in others: the neurons "
            "do not form a single layer x neuron table."
        )
    for site in SITES:
        widths = {hook_point.width for hook_point in hook_points if hook_point.site == site}
        if len(widths) > 1:
            raise ValueError(
                f"{type(hf).__name__} has layers of different widths at {site} "
                f"({', '.join(map(str, sorted(widths)))} neurons): they do not form a single layer "
                "x neuron table."
            )
    depth = len(decoder_layers(hf))
    whole = [
        site
        for site in SITES
        if sum(hook_point.site == site for hook_point in hook_points) == depth
    ]
    return tuple(
        hook_point for site in whole for hook_point in hook_points if hook_point.site == site
    )


def _mlp_hook_points(
    hf: PreTrainedModel, layer: int, parts: dict[str, nn.Module]
) -> list[HookPoint]:
    experts = find_experts(parts)
    down = _part(parts, DOWN)
    if experts is not None:
        if down is not None or any("shared_expert" in name for name in parts):
            raise ValueError(
                f"Layer {layer} of {type(hf).__name__} has both routed experts and neurons that "
                "process every token: they do not form a single layer x neuron table."
            )
        opened = expose_experts(hf, experts)
        return [HookPoint("mlp.post", layer, opened, "input", None, opened.width)]
    if down is None:
        raise ValueError(
            f"No down-projection found in layer {layer} of {type(hf).__name__} "
            f"(looked for {', '.join(DOWN)}): its neurons cannot be located."
        )
    hook_points = [HookPoint("mlp.post", layer, down, "input", None, _width(down, "input"))]
    hook_points += _whole("mlp.down", layer, down)
    hook_points += _whole("mlp.gate", layer, _part(parts, GATE))
    hook_points += _whole("mlp.up", layer, _part(parts, UP))
    fused = _part(parts, GATE_UP)
    if fused is not None:
        half = _width(fused, "output") // 2
        hook_points.append(HookPoint("mlp.gate", layer, fused, "output", torch.arange(half), half))
        hook_points.append(
            HookPoint("mlp.up", layer, fused, "output", torch.arange(half, 2 * half), half)
        )
    return hook_points


def _attention_hook_points(
    hf: PreTrainedModel, layer: int, parts: dict[str, nn.Module]
) -> list[HookPoint]:
    prefix = next((name for name in ATTENTION if name in parts), None)
    if prefix is None:
        return []

    def named(*names: str) -> nn.Module | None:
        return _part(parts, tuple(f"{prefix}.{name}" for name in names))

    hook_points = _whole("attn.o", layer, named(*OUT))
    for letter in "qkv":
        hook_points += _whole(f"attn.{letter}", layer, named(f"{letter}_proj"))
    contiguous, interleaved = named(*CONTIGUOUS_QKV), named(*INTERLEAVED_QKV)
    fused = interleaved if contiguous is None else contiguous
    if fused is not None:
        columns = _fused_columns(hf, _width(fused, "output"), fused is interleaved)
        for site, own in columns.items():
            hook_points.append(HookPoint(site, layer, fused, "output", own, len(own)))
    return hook_points


def _fused_columns(
    hf: PreTrainedModel, width: int, interleaved: bool
) -> dict[str, Int[Tensor, " neuron"]]:
    """The columns of queries, keys and values in one matrix; none if its layout is unknown.

    Args:
        interleaved: Whether each head has its query, key and value side by side. Otherwise, all
            queries come first, then all keys, then all values (except for CodeGen).
    """
    config = hf.config.get_text_config()
    heads = config.num_attention_heads
    groups = config.to_dict().get("num_key_value_heads") or heads
    columns = torch.arange(width)
    if config.model_type == "codegen":
        query, value, key = columns.view(CODEGEN_BLOCKS, 3, -1).unbind(dim=1)
    elif not interleaved:
        size = width // (heads + 2 * groups)
        query, key, value = columns.split([heads * size, groups * size, groups * size])
    elif width % (3 * heads) == 0:
        query, key, value = columns.view(heads, 3, -1).unbind(dim=1)
    else:
        return {}
    return {"attn.q": query.flatten(), "attn.k": key.flatten(), "attn.v": value.flatten()}


def _part(parts: dict[str, nn.Module], names: tuple[str, ...]) -> nn.Module | None:
    return next((parts[name] for name in names if name in parts), None)


def _whole(site: str, layer: int, module: nn.Module | None) -> list[HookPoint]:
    if module is None:
        return []
    return [HookPoint(site, layer, module, "output", None, _width(module, "output"))]


def _width(module: nn.Module, side: Literal["input", "output"]) -> int:
    """The width, taken from the weight matrix because some configs state it wrongly."""
    rows, columns = module.get_parameter("weight").shape
    # The matrix of GPT-2's Conv1D is transposed with respect to nn.Linear.
    reads, writes = (rows, columns) if type(module).__name__ == "Conv1D" else (columns, rows)
    return reads if side == "input" else writes
