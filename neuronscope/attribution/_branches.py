"""Many modified copies of a batch in one forward pass.

A *branch* copies some rows of the batch and changes them at one or more hook points. Its rows join
the pass at the first layer that changes, so that earlier layers are computed once: rows that change
at layer l run through layers l and later only. All branches of all layers share one forward pass
and, if gradients are needed, one backward pass.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

from neuronscope.attribution._memory import saved_bytes
from neuronscope.models.hook_points import HookPoint, decoder_layers, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import frozen, only_answers
from neuronscope.models.targets import Answers, Target


@dataclass(frozen=True, eq=False)
class Branch:
    """Copies of some rows of a batch, and how they are changed."""

    hook_points: tuple[HookPoint, ...]
    """The hook points where the copies are changed."""

    rows: Int[Tensor, " row"]
    """The row of the batch that each copy is taken from."""

    change: Callable[[HookPoint, Float[Tensor, "row pos neuron"]], Float[Tensor, "row pos neuron"]]
    """The new activations at a hook point, from those of the unchanged rows."""


@dataclass
class _Rows:
    """For each row of the growing pass, the row of the batch that it copies."""

    batch: int
    current: Int[Tensor, " row"]
    spans: dict[int, slice] = field(default_factory=dict)

    def grow(self, index: int, rows: Int[Tensor, " row"]) -> None:
        self.spans[index] = slice(len(self.current), len(self.current) + len(rows))
        self.current = torch.cat([self.current, rows.to(self.current.device)])


@dataclass(frozen=True, eq=False)
class Pass:
    """The unchanged rows of a pass: the input tokens and the positions of the answers."""

    tokens: Int[Tensor, "batch pos"]
    answers: Answers
    prefix: DynamicCache | None = None
    """Cached keys and values of the positions before these tokens."""


def branch_scores(
    model: HookedModel, inputs: Pass, branches: Sequence[Branch], target: Target
) -> tuple[Float[Tensor, " batch"], list[Float[Tensor, " _"]]]:
    """The target of the unchanged rows, and of each branch's rows.

    Gradients flow to the tensors that the branches' `change` returns. The parameters must be
    frozen.
    """
    batch, length = inputs.tokens.shape
    rows = _Rows(batch, torch.arange(batch, device=inputs.tokens.device))
    layers = decoder_layers(model.hf)
    functions = [
        (hook_point, _changer(hook_point, index, branch, rows))
        for index, branch in enumerate(branches)
        for hook_point in branch.hook_points
    ]
    with ExitStack() as hooks:
        for number, layer in enumerate(layers):
            entering = [
                (index, branch.rows)
                for index, branch in enumerate(branches)
                if min(hook_point.layer for hook_point in branch.hook_points) == number
            ]
            hook = layer.register_forward_pre_hook(_grower(rows, entering), with_kwargs=True)
            hooks.callback(hook.remove)
        hooks.enter_context(hooked(functions, length))
        hooks.enter_context(only_answers(model, lambda: inputs.answers.take(rows.current)))
        cache = None if inputs.prefix is None else _Prefix(inputs.prefix, rows)
        logits = model.hf(
            input_ids=inputs.tokens, past_key_values=cache, use_cache=cache is not None
        ).logits[0]
    scores = target(logits, inputs.answers.take(rows.current))
    return scores[:batch], [scores[rows.spans[index]] for index in range(len(branches))]


def observe(
    model: HookedModel, inputs: Pass, hook_points: Sequence[HookPoint], target: Target
) -> tuple[Float[Tensor, " batch"], dict[HookPoint, Float[Tensor, "batch pos _"]]]:
    """The target of each row and the activations at `hook_points`, without changes or gradient."""
    neurons: dict[HookPoint, Tensor] = {}

    functions = keeping(hook_points, neurons)
    with frozen(model), torch.no_grad(), hooked(functions, inputs.tokens.shape[1]):
        scores, _ = branch_scores(model, inputs, (), target)
    return scores, neurons


def chunks(model: HookedModel, inputs: Pass, layers: Sequence[int], memory: int) -> Iterator[slice]:
    """Divide a list of row copies into chunks that fit into memory, with at least one copy each.

    Args:
        layers: The layer at which each copy joins the pass.
        memory: Bytes for saved tensors and logits, including those of the unchanged rows.
    """
    batch, length = inputs.tokens.shape
    layer_cost = length * saved_bytes(model)
    # Logits, their gradient, and two temporary copies in the target.
    head_cost = 4 * 4 * model.vocabulary
    per_row = len(inputs.answers.row) / batch * head_cost
    room = max(memory - batch * (model.n_layers * layer_cost + per_row), memory / 4)
    start, used = 0, 0.0
    for index, layer in enumerate(layers):
        cost = (model.n_layers - layer) * layer_cost + per_row
        if index > start and used + cost > room:
            yield slice(start, index)
            start, used = index, 0.0
        used += cost
    if start < len(layers):
        yield slice(start, len(layers))


def silenced_scores(
    model: HookedModel, inputs: Pass, hook_points: Sequence[HookPoint], target: Target, memory: int
) -> list[Float[Tensor, " batch"]]:
    """The target with all neurons of one hook point set to zero, for each hook point."""
    batch = len(inputs.tokens)
    rows = torch.arange(batch, device=inputs.tokens.device)
    changes = [(hook_point, row) for hook_point in hook_points for row in range(batch)]
    scores = []
    with frozen(model), torch.no_grad():
        for chunk in chunks(model, inputs, [hook_point.layer for hook_point, _ in changes], memory):
            branches = [
                Branch(
                    (hook_point,), rows[row : row + 1], lambda _, neurons: torch.zeros_like(neurons)
                )
                for hook_point, row in changes[chunk]
            ]
            scores += branch_scores(model, inputs, branches, target)[1]
    return list(torch.cat(scores).view(len(hook_points), batch))


def _changer(
    hook_point: HookPoint, index: int, branch: Branch, rows: _Rows
) -> Callable[[Tensor], Tensor]:
    def change(neurons: Tensor) -> Tensor:
        span = rows.spans[index]
        unchanged = neurons[: rows.batch].detach()[branch.rows.to(neurons.device)]
        new = branch.change(hook_point, unchanged)
        # In the backward pass, one split costs one concatenation; with separate slices, autograd
        # would pad each gradient with zeros to full size.
        sizes = (span.start, len(new), len(neurons) - span.stop)
        ahead, _, behind = neurons.split(sizes)
        return torch.cat([ahead, new, behind])

    return change


def _grower(
    rows: _Rows, entering: Sequence[tuple[int, Int[Tensor, " _"]]]
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]:
    def grow(
        layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        del layer
        by_name = "hidden_states" in kwargs
        hidden = kwargs["hidden_states"] if by_name else args[0]
        for index, copied in entering:
            rows.grow(index, copied)
            hidden = torch.cat([hidden, hidden[: rows.batch].detach()[copied.to(hidden.device)]])
        rest = {name: _per_row(value, rows) for name, value in kwargs.items()}
        if by_name:
            return args, {**rest, "hidden_states": hidden}
        return (hidden, *(_per_row(value, rows) for value in args[1:])), rest

    return grow


def _per_row(value: Any, rows: _Rows) -> Any:
    """A mask or position embedding for the rows of the growing pass.

    A tensor with one entry for all rows broadcasts; one with an entry per row is indexed.
    """
    if isinstance(value, tuple):
        return tuple(_per_row(part, rows) for part in value)
    if isinstance(value, Tensor) and value.dim() >= 2 and value.shape[0] == rows.batch > 1:
        return value[rows.current.to(value.device)]
    return value


class _Prefix(DynamicCache):
    """Keys and values of a shared prefix, read by any number of rows and never modified."""

    def __init__(self, prefix: DynamicCache, rows: _Rows):
        super().__init__()
        self.layers = prefix.layers
        self.rows = rows

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        del args, kwargs
        layer = self.layers[layer_idx]
        assert isinstance(layer, DynamicLayer), "a dynamic cache has dynamic layers"
        assert layer.keys is not None and layer.values is not None, "the prefix has been computed"
        index = self.rows.current.to(key_states.device)
        keys = torch.cat([layer.keys[index], key_states], dim=-2)
        return keys, torch.cat([layer.values[index], value_states], dim=-2)
