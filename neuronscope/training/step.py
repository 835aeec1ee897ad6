"""One update: the objective's gradient, the regularizer's beside it, and the optimizer's step.

    .grad ← ∇L_forget, then + ∇L_retain      (the sum over portions and processes)
    .grad ← .grad + λ∇R,   λ = strength, or relative · ‖∇L‖ / ‖∇R‖
    .grad ← .grad · min(1, clip / ‖.grad‖)

Nothing is updated by a loss or gradient that is not finite.
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
    length_and_product,
    mask_gradients,
    mix,
    norm,
    present,
)
from neuronscope.training.sampling import portions_of
from neuronscope.training.work import Work


@dataclass(frozen=True, eq=False)
class Taken:
    """What came of a step."""

    row: Row
    memory: Memory
    """The regularizer's, after the step."""

    trouble: str | None
    """What was not finite, so that nothing was updated."""


def take_step(
    work: Work,
    schedule: LRScheduler,
    number: int,
    forget: tuple[Fact, ...],
    retain: tuple[Fact, ...],
    memory: Memory,
) -> Taken:
    """Make one update from a batch of each split.

    Args:
        number: From 1.
        memory: The regularizer's, from the steps before.
    """
    clear(work)
    work.gather_anew()
    portions = _portions(work, forget)
    terms, log_prob_gradient = _loss(work, portions, _portions(work, retain))
    row: Row = {"step": float(number)} | {f"loss_{name}": value for name, value in terms.items()}
    row["loss"] = float(sum(terms.values()))
    row["gradient_norm"] = norm(work, present(work))
    pull = _Pull(row["gradient_norm"])
    trouble = _not_finite(terms | {"gradient": pull.norm})
    if work.regularizer is not None and trouble is None:
        gradient = partial(gradient_of, work, portions)
        step = Step(
            number, work.training, portions, gradient, work.processes.total, log_prob_gradient
        )
        penalty, later = work.regularizer(step, memory)
        columns, pull = _penalize(work, penalty, row["gradient_norm"])
        row |= columns
        trouble = _not_finite({"penalty": penalty.value, "penalty's gradient": row["penalty_norm"]})
        memory = memory if trouble else later
    row["learning_rate"] = float(work.optimizer.param_groups[0]["lr"])
    if trouble is None:
        _update(work, schedule, pull)
    row["update_norm"] = work.update_norm()
    clear(work)
    return Taken(row, memory, trouble)


def _portions(work: Work, facts: tuple[Fact, ...]) -> tuple[Portion, ...]:
    here, size = work.processes, work.config.micro_batch
    return portions_of(work.training, facts, here.index, here.count, size)


def _loss(
    work: Work, forget: tuple[Portion, ...], retain: tuple[Portion, ...]
) -> tuple[dict[str, float], Gradients | None]:
    """Put ∇L into `.grad`.

    Returns:
        The terms; and Σ_x ∂log P/∂φ over the forget batch, where the regularizer wants it and the
        forget half's gradient is a multiple of it.
    """
    training, processes = work.training, work.processes
    terms = backward(work, partial(work.objective.forget, training), forget)
    wanted = work.regularizer is not None and work.regularizer.wants_log_prob_gradient
    weight = work.objective.log_prob_weight(forget[0]) if wanted and forget else None
    log_prob_gradient = None
    if weight:
        log_prob_gradient = {
            name: work.kept_apart(name, processes.total(part), weight)
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
class _Pull:
    """What pulls at the parameters: .grad + strength · gradient."""

    norm: float
    """Of the sum, before clipping."""

    gradient: Gradients = field(default_factory=dict)
    strength: float = 0.0


def _penalize(work: Work, penalty: Penalty, loss_norm: float) -> tuple[Row, _Pull]:
    """The penalty's columns of the history, and what it adds to the pull of the loss."""
    regularizer = work.regularizer
    assert regularizer is not None, "there is no penalty without one"
    bare, product = length_and_product(work, penalty.gradient)
    strength = regularizer.strength
    if regularizer.relative is not None:
        strength = regularizer.relative * loss_norm / bare if bare > 0 else 0.0
    row = {
        "penalty": penalty.value,
        "strength": float(strength),
        "penalty_norm": strength * bare,
        "cosine": product / (loss_norm * bare) if loss_norm * bare > 0 else math.nan,
        **penalty.figures,
    }
    square = loss_norm**2 + 2 * strength * product + (strength * bare) ** 2
    return row, _Pull(math.sqrt(max(square, 0.0)), penalty.gradient, strength)


def _update(work: Work, schedule: LRScheduler, pull: _Pull) -> None:
    # As torch.nn.utils.clip_grad_norm_ does it, without reading the gradient again.
    clip = work.config.clip
    shrink = min(1.0, clip / (pull.norm + 1e-6)) if clip > 0 else 1.0
    mix(work, pull.gradient, pull.strength, shrink)
    work.optimizer.step()
    schedule.step()
    work.hold_masked()
    work.gather_anew()


def _not_finite(values: dict[str, float]) -> str | None:
    """The first of some numbers that is not finite, by name and value."""
    for name, value in values.items():
        if not math.isfinite(value):
            return f"{name} is {value}"
    return None
