"""Gradients of sums over the facts of a step: computing, masking, measuring and adding them."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.models.sharded import blocks, squares_and_products, squares_of
from neuronscope.objectives import Gradients, Portion, Terms
from neuronscope.training.work import Work


def backward(
    work: Work, half: Callable[[Portion], Terms], portions: tuple[Portion, ...]
) -> dict[str, Float[Tensor, ""]]:
    """Add this process's share of the gradient of a loss to `.grad`.

    Args:
        half: The forget half or the retain half of the objective.

    Returns:
        This process's share of each term.
    """
    totals: dict[str, Tensor] = {}
    for portion in portions:
        terms = half(portion)
        pass_backward(work, list(terms.values()))
        for name, term in terms.items():
            totals[name] = totals.get(name, 0) + term.detach()
    return totals


def pass_backward(work: Work, terms: list[Float[Tensor, ""]]) -> None:
    """Backpropagate the sum of the terms that depend on trained parameters, if there are any."""
    dependent = [term for term in terms if term.requires_grad]
    if dependent:
        (torch.stack(dependent).sum() * work.processes.gradient_scale).backward()


def gradient_of(
    work: Work, portions: tuple[Portion, ...], function: Callable[[Portion], Float[Tensor, ""]]
) -> Gradients:
    """The gradient of a function summed over the facts of a step; `.grad` is left unchanged."""
    held = {name: parameter.grad for name, parameter in work.parameters.items()}
    clear(work)
    # The regularizer may have changed the parameters to evaluate an earlier model.
    work.reshard()
    try:
        with torch.enable_grad():
            for portion in portions:
                pass_backward(work, [function(portion)])
        work.processes.sum_gradients(work.parameters)
        mask_gradients(work)
        return present(work)
    finally:
        for name, parameter in work.parameters.items():
            parameter.grad = held[name]


def present(work: Work) -> Gradients:
    """The current values of `.grad`, not copied."""
    return {name: p.grad for name, p in work.parameters.items() if p.grad is not None}


def clear(work: Work) -> None:
    """Free `.grad`."""
    for parameter in work.parameters.values():
        parameter.grad = None


def mask_gradients(work: Work) -> None:
    """Set the gradient to zero where a parameter may not change."""
    for name, mask in work.masks.items():
        gradient = work.parameters[name].grad
        if gradient is not None:
            gradient.mul_(mask)


def norm(work: Work, gradient: Gradients) -> float:
    """‖g‖ over entries that may change; NaN or infinite if an entry is."""
    return math.sqrt(squares_of(masked(work, n, part) for n, part in gradient.items()))


def norm_and_product(work: Work, gradient: Gradients) -> tuple[float, float]:
    """‖g‖ and ⟨g, .grad⟩ over entries that may change."""
    held = present(work)
    parts = {name: masked(work, name, part) for name, part in gradient.items()}
    squares, product = squares_and_products((p, held[n]) for n, p in parts.items() if n in held)
    squares += squares_of(part for name, part in parts.items() if name not in held)
    return math.sqrt(squares), product


def mix(work: Work, gradient: Gradients, scale: float, shrink: float) -> None:
    """.grad ← shrink · (.grad + scale · g), for entries that may change."""
    for name, parameter in work.parameters.items():
        if scale != 0 and name in gradient:
            part = masked(work, name, gradient[name].to(parameter.dtype))
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            for total, summand in blocks(parameter.grad, part):
                total.add_(summand, alpha=scale)
                if shrink != 1:
                    total.mul_(shrink)
        elif parameter.grad is not None and shrink != 1:
            parameter.grad.mul_(shrink)


def masked(work: Work, name: str, part: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """A parameter's gradient, zero where the parameter may not change."""
    return part * work.masks[name] if name in work.masks else part
