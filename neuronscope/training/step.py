"""One update: gradient of the objective, gradient of the regularizer, and the optimizer's step.

    .grad ← ∇L_forget, then + ∇L_retain      (the sum over portions and processes)
    .grad ← .grad + λ∇R,   λ = strength, or relative · ‖∇L‖ / ‖∇R‖
    .grad ← .grad · min(1, clip / ‖.grad‖)

If a loss or gradient is not finite, nothing is updated.
"""

import math
from dataclasses import dataclass, field
from functools import partial

from torch.optim.lr_scheduler import LRScheduler

from neuronscope.facts.fact import Fact
from neuronscope.objectives import Gradients, Portion, Step
from neuronscope.regularizers import Memory, Penalty
from neuronscope.results.history import Row
from neuronscope.training.gradients import (
    backward,
    clear,
    gradient_of,
    mask_gradients,
    mix,
    norm,
    norm_and_product,
    present,
)
from neuronscope.training.sampling import portions_of
from neuronscope.training.work import Work


@dataclass(frozen=True, eq=False)
class StepResult:
    """The result of a step."""

    row: Row
    """Columns of the history."""

    memory: Memory
    """The regularizer's memory after the step."""

    trouble: str | None
    """Name and value of a number that is not finite, in which case nothing was updated; None if all
    numbers are finite."""


def take_step(
    work: Work,
    schedule: LRScheduler,
    number: int,
    forget: tuple[Fact, ...],
    retain: tuple[Fact, ...],
    memory: Memory,
) -> StepResult:
    """Make one update from a batch of each split.

    Args:
        number: Number of the step, starting at 1.
        memory: The regularizer's memory after the previous step.
    """
    clear(work)
    work.reshard()
    portions = _portions(work, forget)
    terms, log_prob_gradient = _loss(work, portions, _portions(work, retain))
    row: Row = {"step": float(number)} | {f"loss_{name}": value for name, value in terms.items()}
    row["loss"] = float(sum(terms.values()))
    row["gradient_norm"] = norm(work, present(work))
    total = _Total(row["gradient_norm"])
    losses = {f"the loss term {name!r}": value for name, value in terms.items()}
    trouble = _not_finite(losses | {"the gradient norm": total.norm})
    if work.regularizer is not None and trouble is None:
        gradient = partial(gradient_of, work, portions)
        step = Step(
            number, work.training, portions, gradient, work.processes.total, log_prob_gradient
        )
        penalty, later = work.regularizer(step, memory)
        columns, total = _penalize(work, penalty, row["gradient_norm"])
        row |= columns
        trouble = _not_finite(
            {"the penalty": penalty.value, "the penalty's gradient norm": row["penalty_norm"]}
        )
        memory = memory if trouble else later
    row["learning_rate"] = float(work.optimizer.param_groups[0]["lr"])
    if trouble is None:
        _update(work, schedule, total)
    row["update_norm"] = work.update_norm()
    clear(work)
    return StepResult(row, memory, trouble)


def _portions(work: Work, facts: tuple[Fact, ...]) -> tuple[Portion, ...]:
    processes, size = work.processes, work.config.micro_batch
    return portions_of(work.training, facts, processes.index, processes.count, size)


def _loss(
    work: Work, forget: tuple[Portion, ...], retain: tuple[Portion, ...]
) -> tuple[dict[str, float], Gradients | None]:
    """Compute ∇L into `.grad`.

    Returns:
        The terms; and Σ_x ∂log P/∂φ over the forget batch, if the regularizer uses this sum and the
        gradient of the forget half is proportional to it, otherwise None.
    """
    training, processes = work.training, work.processes
    terms = backward(work, partial(work.objective.forget, training), forget)
    wanted = work.regularizer is not None and work.regularizer.wants_log_prob_gradient
    weight = work.objective.log_prob_weight(forget[0]) if wanted and forget else None
    log_prob_gradient = None
    if weight:
        log_prob_gradient = {
            name: work.stored_apart(name, processes.total(part), weight)
            for name, part in present(work).items()
        }
        for name in log_prob_gradient.keys() & work.masks.keys():
            log_prob_gradient[name].mul_(work.masks[name])
    for name, term in backward(work, partial(work.objective.retain, training), retain).items():
        terms[name] = terms[name] + term if name in terms else term
    processes.sum_gradients(work.parameters)
    mask_gradients(work)
    summed = {name: float(processes.total(term)) for name, term in terms.items()}
    return summed, log_prob_gradient


@dataclass(frozen=True, eq=False)
class _Total:
    """The total gradient: .grad + strength · gradient."""

    norm: float
    """Norm of the sum, before clipping."""

    gradient: Gradients = field(default_factory=dict)
    strength: float = 0.0


def _penalize(work: Work, penalty: Penalty, loss_norm: float) -> tuple[Row, _Total]:
    """The penalty's columns of the history, and the total gradient of loss and penalty."""
    regularizer = work.regularizer
    assert regularizer is not None, "there is no penalty without a regularizer"
    unscaled, product = norm_and_product(work, penalty.gradient)
    strength = regularizer.strength
    if regularizer.relative is not None:
        strength = regularizer.relative * loss_norm / unscaled if unscaled > 0 else 0.0
    row = {
        "penalty": penalty.value,
        "strength": float(strength),
        "penalty_norm": strength * unscaled,
        "cosine": product / (loss_norm * unscaled) if loss_norm * unscaled > 0 else math.nan,
        **penalty.figures,
    }
    square = loss_norm**2 + 2 * strength * product + (strength * unscaled) ** 2
    return row, _Total(math.sqrt(max(square, 0.0)), penalty.gradient, strength)


def _update(work: Work, schedule: LRScheduler, total: _Total) -> None:
    # Like torch.nn.utils.clip_grad_norm_, but without another pass over the gradient.
    clip = work.config.clip
    shrink = min(1.0, clip / (total.norm + 1e-6)) if clip > 0 else 1.0
    mix(work, total.gradient, total.strength, shrink)
    work.optimizer.step()
    schedule.step()
    work.restore_masked()
    work.reshard()


def _not_finite(values: dict[str, float]) -> str | None:
    """Name and value of the first number that is not finite; None if all are finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            return f"{name} is {value}"
    return None
