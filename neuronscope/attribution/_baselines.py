"""Baselines of neurons: zero, their mean over facts, or their activations on another prompt.

A baseline is any callable that maps a model, a number of positions and a hook point to activations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import frozen

Baseline = Callable[[HookedModel, int, HookPoint], Float[Tensor, "pos neuron"]]
"""`(model, positions, hook point) -> neurons`, with a single position if all are the same."""


@dataclass(frozen=True)
class Zero:
    """Activations of zero."""

    def __call__(
        self, model: HookedModel, positions: int, hook_point: HookPoint
    ) -> Float[Tensor, "pos neuron"]:
        del positions
        return torch.zeros(1, hook_point.width, dtype=model.dtype, device=model.device)

    def __str__(self) -> str:
        return "zero"


@dataclass(frozen=True, eq=False)
class Mean:
    """The mean of each neuron at each position over some facts.

    Positions beyond the longest fact use the mean of the last position.
    """

    values: dict[tuple[str, int], Float[Tensor, "pos _"]]
    """The means by site and layer."""
    facts: int
    """Number of facts."""
    kind: str = "facts"
    """The kind of facts, in the plural."""

    def __call__(
        self, model: HookedModel, positions: int, hook_point: HookPoint
    ) -> Float[Tensor, "pos neuron"]:
        del model
        values = self.values[hook_point.site, hook_point.layer]
        return values[torch.arange(positions, device=values.device).clamp(max=len(values) - 1)]

    def __str__(self) -> str:
        return f"mean over {self.facts} {self.kind}"


@dataclass(frozen=True)
class Reference:
    """The activations on another prompt, position by position.

    A shorter prompt is extended by repeating its last token.
    """

    prompt: str

    def __call__(
        self, model: HookedModel, positions: int, hook_point: HookPoint
    ) -> Float[Tensor, "pos neuron"]:
        tokens = reference_tokens(model, self.prompt, positions)
        return activations(model, tokens[None], (hook_point,))[0][0]

    def __str__(self) -> str:
        return f"reference: {self.prompt}"


def reference_tokens(model: HookedModel, prompt: str, positions: int) -> Int[Tensor, " pos"]:
    """The first tokens of a prompt, extended by repeating its last token if it is too short.

    Raises:
        ValueError: If the prompt has no tokens.
    """
    tokens = model.tokenizer(prompt).input_ids
    if not tokens:
        raise ValueError(f"The reference prompt {prompt!r} has no tokens: give it some text.")
    tokens = (tokens + tokens[-1:] * positions)[:positions]
    return torch.tensor(tokens, device=model.device)


def check_reference(baseline: str, reference: str) -> None:
    """Check that a reference prompt is given if, and only if, the baseline is 'reference'.

    Raises:
        ValueError: Otherwise.
    """
    if (baseline == "reference") != bool(reference):
        raise ValueError(
            "The baseline 'reference' needs a reference prompt, and other baselines take none; got "
            f"baseline={baseline!r}, reference={reference!r}."
        )


def mean_baseline(model: HookedModel, batches: Sequence[Batch], sites: Sequence[str]) -> Mean:
    """The mean of each neuron at each position over some facts, usually the retain set.

    Positions are averaged separately because attention sinks cause activations at the first
    position that would dominate a mean over positions.
    """
    hook_points = [hook_point for site in sites for hook_point in model.hook_points_at(site)]
    longest = max(batch.tokens.shape[1] for batch in batches) - 1
    sums = [
        torch.zeros(longest, hook_point.width, dtype=torch.float64) for hook_point in hook_points
    ]
    counts = torch.zeros(longest, 1, dtype=torch.float64)
    for batch in batches:
        tokens = batch.tokens[:, :-1]
        length = tokens.shape[1]
        real = torch.arange(length, device=tokens.device) < batch.lengths[:, None] - 1
        counts[:length, 0] += real.sum(dim=0).cpu()
        for total, neurons in zip(sums, activations(model, tokens, hook_points), strict=True):
            total[:length] += (neurons * real[..., None]).sum(dim=0).double().cpu()
    values = {
        (hook_point.site, hook_point.layer): (total / counts).to(model.device, model.dtype)
        for hook_point, total in zip(hook_points, sums, strict=True)
    }
    return Mean(values, sum(len(batch.tokens) for batch in batches))


def activations(
    model: HookedModel, tokens: Tensor, hook_points: Sequence[HookPoint]
) -> list[Float[Tensor, "batch pos _"]]:
    """The activations at `hook_points`, in this order, without gradient."""
    taken: dict[HookPoint, Tensor] = {}
    with frozen(model), torch.no_grad(), hooked(keeping(hook_points, taken), tokens.shape[1]):
        model.hf.base_model(input_ids=tokens, use_cache=False)
    return [taken[hook_point] for hook_point in hook_points]
