"""The training loop: steps, looks at the model, the stop rule, checkpoints."""

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch.optim.lr_scheduler import LRScheduler

from neuronscope.facts.fact import Fact
from neuronscope.regularizers import Memory
from neuronscope.results.cache import Workspace
from neuronscope.results.history import Row, columns_of
from neuronscope.training.checkpoints import SoFar, load_checkpoint, save_checkpoint
from neuronscope.training.evaluation import Evaluation
from neuronscope.training.gradients import clear
from neuronscope.training.sampling import batches
from neuronscope.training.showing import Show, showing
from neuronscope.training.step import take_step
from neuronscope.training.tracking import logged
from neuronscope.training.work import Work

OUT_OF_STEPS = "All"
"""How the reason begins where nothing ended a run but the number of its steps."""


@dataclass(frozen=True, eq=False)
class Ended:
    """A run's end."""

    so_far: SoFar

    stopped: str
    """Why, in one sentence."""


def train(
    work: Work,
    schedule: LRScheduler,
    evaluation: Evaluation,
    workspace: Workspace | None,
    progress: bool,
) -> Ended:
    """Step after step, from the last checkpoint if there is one, until something ends the run.

    Args:
        workspace: Where checkpoints are written; without one there are none.
        progress: Show how far it is.
    """
    clock = _Clock()
    so_far = load_checkpoint(workspace, work, schedule) if workspace is not None else None
    so_far, stopped = (so_far, None) if so_far is not None else _begin(work, evaluation)
    clock = _Clock(so_far.seconds, clock.started)
    forget, retain = (_order(work, split, so_far.step) for split in ("forget", "retain"))
    saved = clock.seconds
    with showing(work.config.steps, progress and work.processes.main) as show:
        _tell(work, so_far, show)
        while stopped is None and so_far.step < work.config.steps:
            batch = next(forget), next(retain)
            so_far, stopped = _advance(work, schedule, evaluation, so_far, batch)
            so_far = replace(so_far, seconds=clock.seconds)
            _tell(work, so_far, show)
            due = _checkpoint_due(work, so_far.step, so_far.seconds - saved)
            if workspace is not None and stopped is None and due:
                save_checkpoint(workspace, work, schedule, so_far)
                saved = clock.seconds
    ended = replace(so_far, seconds=clock.seconds)
    return Ended(ended, stopped or f"{OUT_OF_STEPS} {work.config.steps} steps are done.")


def _tell(work: Work, so_far: SoFar, show: Show) -> None:
    show(so_far.rows)
    work.processes.accelerator.log(logged(so_far.rows[-1]), step=so_far.step)


def _begin(work: Work, evaluation: Evaluation) -> tuple[SoFar, str | None]:
    """The model before, as step 0."""
    memory: Memory = {}
    if work.regularizer is not None:
        memory = work.regularizer.start(work.training, work.facts)
        clear(work)
    found, scores = evaluation(0)
    row = {"step": 0.0, "update_norm": 0.0, **found, **_memory(work)}
    return SoFar(0, [row], memory, 0.0), _reason(work, evaluation, scores, 0.0)


def _advance(
    work: Work,
    schedule: LRScheduler,
    evaluation: Evaluation,
    so_far: SoFar,
    batch: tuple[tuple[Fact, ...], tuple[Fact, ...]],
) -> tuple[SoFar, str | None]:
    """One step further, and the reason to stop there, if there is one."""
    began, number = time.perf_counter(), so_far.step + 1
    taken = take_step(work, schedule, number, *batch, so_far.memory)
    row = taken.row | {"seconds": time.perf_counter() - began}
    if taken.trouble is not None:
        rows = [*so_far.rows, row | _memory(work)]
        said = f"At step {number} the {taken.trouble}: the weights are those of step {number - 1}."
        return replace(so_far, rows=rows), said
    reason = None
    last = number == work.config.steps
    if number % work.config.evaluate_every == 0 or last:
        found, scores = evaluation(number)
        row |= found
        reason = _reason(work, evaluation, scores, row["update_norm"])
    elif so_far.rows[0].keys() <= set(columns_of(evaluation.roles.names)):
        # A rule that measured nothing costs nothing, and can end the run at the very step.
        reason = _reason(work, evaluation, {}, row["update_norm"])
    return replace(
        so_far, step=number, rows=[*so_far.rows, row | _memory(work)], memory=taken.memory
    ), reason


def _reason(work: Work, evaluation: Evaluation, scores: Row, moved: float) -> str | None:
    """The stop rule's, as the main process sees it."""
    if evaluation.stop is None:
        return None
    return work.processes.agreed(evaluation.stop(scores, moved))


def _order(work: Work, split: str, skip: int) -> Iterator[tuple[Fact, ...]]:
    config = work.config
    size = config.forget_batch if split == "forget" else config.retain_batch
    return batches(work.facts.split(split), size, config.seed, split, skip)


def _checkpoint_due(work: Work, step: int, seconds: float) -> bool:
    by_steps = work.config.checkpoint_steps is not None and step % work.config.checkpoint_steps == 0
    by_time = seconds >= 60 * work.config.checkpoint_minutes
    return by_steps or work.processes.agreed(by_time)


def _memory(work: Work) -> Row:
    """Bytes used at most so far: of a GPU if the model is on one, else of the process."""
    device = work.training.model.device
    if device.type == "cuda":
        return {"peak_memory": float(torch.cuda.max_memory_allocated(device))}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory": float(peak if sys.platform == "darwin" else peak * 1024)}


@dataclass(frozen=True)
class _Clock:
    """Time a run took, interruptions not counted."""

    earlier: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.started
