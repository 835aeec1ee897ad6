"""Gradients of sums over a step's facts, and what is done with them."""

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
    """Add this process's part of a loss's gradient to `.grad`.

    Returns:
        Its part of each term.
    """
    terms: dict[str, Tensor] = {}
    for portion in portions:
        found = half(portion)
        pass_backward(work, list(found.values()))
        for name, term in found.items():
            terms[name] = terms.get(name, 0) + term.detach()
    return terms


def pass_backward(work: Work, terms: list[Float[Tensor, ""]]) -> None:
    """Pass the terms' sum backward, if any of them depends on what is trained."""
    open_terms = [term for term in terms if term.requires_grad]
    if open_terms:
        (torch.stack(open_terms).sum() * work.processes.gradient_scale).backward()


def gradient_of(
    work: Work, portions: tuple[Portion, ...], function: Callable[[Portion], Float[Tensor, ""]]
) -> Gradients:
    """The gradient of a function's sum over the step's facts; `.grad` stays as it is."""
    held = {name: parameter.grad for name, parameter in work.parameters.items()}
    clear(work)
    # The regularizer may have moved the parameters to ask what was before.
    work.gather_anew()
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
    """What `.grad` holds, without copying it."""
    return {name: p.grad for name, p in work.parameters.items() if p.grad is not None}


def clear(work: Work) -> None:
    """Free `.grad`."""
    for parameter in work.parameters.values():
        parameter.grad = None


def mask_gradients(work: Work) -> None:
    """Put zeros where a parameter may not change."""
    for name, mask in work.masks.items():
        gradient = work.parameters[name].grad
        if gradient is not None:
            gradient.mul_(mask)


def norm(work: Work, gradient: Gradients) -> float:
    """‖g‖ where parameters may change; NaN or infinite if an entry is."""
    return math.sqrt(squares_of(masked(work, n, part) for n, part in gradient.items()))


def length_and_product(work: Work, gradient: Gradients) -> tuple[float, float]:
    """‖g‖ and ⟨g, .grad⟩ where parameters may change."""
    held = present(work)
    parts = {name: masked(work, name, part) for name, part in gradient.items()}
    squares, product = squares_and_products((p, held[n]) for n, p in parts.items() if n in held)
    squares += squares_of(part for name, part in parts.items() if name not in held)
    return math.sqrt(squares), product


def mix(work: Work, gradient: Gradients, scale: float, shrink: float) -> None:
    """.grad ← shrink · (.grad + scale · g), where parameters may change."""
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
    """A parameter's gradient where it may change."""
    return part * work.masks[name] if name in work.masks else part
