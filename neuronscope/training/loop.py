"""The training loop: steps, evaluations, stop rule, checkpoints."""

import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch.optim.lr_scheduler import LRScheduler

from neuronscope.facts.fact import Fact
from neuronscope.models.answers import NaNLogitsError
from neuronscope.regularizers import Memory
from neuronscope.results.cache import Workspace
from neuronscope.results.history import Row, columns_of
from neuronscope.training.checkpoints import RunState, load_checkpoint, save_checkpoint
from neuronscope.training.evaluation import Evaluation
from neuronscope.training.gradients import clear
from neuronscope.training.sampling import batches
from neuronscope.training.showing import Show, showing
from neuronscope.training.step import take_step
from neuronscope.training.tracking import logged
from neuronscope.training.work import Work

OUT_OF_STEPS = "All"
"""The first word of the reason if a run ended after its last step."""


@dataclass(frozen=True, eq=False)
class Ended:
    """The end of a run."""

    state: RunState

    stopped: str
    """Why the run ended, in one sentence."""


def train(
    work: Work,
    schedule: LRScheduler,
    evaluation: Evaluation,
    workspace: Workspace | None,
    progress: bool,
) -> Ended:
    """Train until the run ends, starting from the last checkpoint if there is one.

    Args:
        workspace: Where to write checkpoints; None writes none.
        progress: Show the progress.

    Raises:
        NaNLogitsError: If the logits of the model are NaN before the first step.
    """
    clock = _Clock()
    state = load_checkpoint(workspace, work, schedule) if workspace is not None else None
    state, stopped = (state, None) if state is not None else _begin(work, evaluation)
    clock = _Clock(state.seconds, clock.started)
    forget, retain = (_order(work, split, state.step) for split in ("forget", "retain"))
    saved = clock.seconds
    with showing(work.config.steps, progress and work.processes.main) as show:
        _show(work, state, show)
        while stopped is None and state.step < work.config.steps:
            batch = next(forget), next(retain)
            state, stopped = _advance(work, schedule, evaluation, state, batch)
            state = replace(state, seconds=clock.seconds)
            _show(work, state, show)
            due = _checkpoint_due(work, state.step, state.seconds - saved)
            if workspace is not None and stopped is None and due:
                save_checkpoint(workspace, work, schedule, state)
                saved = clock.seconds
    ended = replace(state, seconds=clock.seconds)
    return Ended(ended, stopped or f"{OUT_OF_STEPS} {work.config.steps} steps are done.")


def _show(work: Work, state: RunState, show: Show) -> None:
    show(state.rows)
    work.processes.accelerator.log(logged(state.rows[-1]), step=state.step)


def _begin(work: Work, evaluation: Evaluation) -> tuple[RunState, str | None]:
    """Evaluate the original model, as step 0."""
    memory: Memory = {}
    if work.regularizer is not None:
        memory = work.regularizer.start(work.training, work.facts)
        clear(work)
    columns, scores = evaluation(0)
    row = {"step": 0.0, "update_norm": 0.0, **columns, **_peak_memory(work)}
    return RunState(0, [row], memory, 0.0), _reason(work, evaluation, scores, 0.0)


def _advance(
    work: Work,
    schedule: LRScheduler,
    evaluation: Evaluation,
    state: RunState,
    batch: tuple[tuple[Fact, ...], tuple[Fact, ...]],
) -> tuple[RunState, str | None]:
    """Take one step; return the new state, and the reason to stop there, if there is one."""
    began, number = time.perf_counter(), state.step + 1
    result = take_step(work, schedule, number, *batch, state.memory)
    row = result.row | {"seconds": time.perf_counter() - began}
    if result.trouble is not None:
        rows = [*state.rows, row | _peak_memory(work)]
        reason = f"At step {number} {result.trouble}; the weights are those of step {number - 1}."
        return replace(state, rows=rows), reason
    reason = None
    last = number == work.config.steps
    if number % work.config.evaluate_every == 0 or last:
        columns, reason = _evaluate(work, evaluation, number, row["update_norm"])
        row |= columns
    elif state.rows[0].keys() <= set(columns_of(evaluation.roles.names)):
        # A rule without scores costs nothing, so it is applied at every step.
        reason = _reason(work, evaluation, {}, row["update_norm"])
    return replace(
        state, step=number, rows=[*state.rows, row | _peak_memory(work)], memory=result.memory
    ), reason


def _evaluate(
    work: Work, evaluation: Evaluation, number: int, moved: float
) -> tuple[Row, str | None]:
    """The columns of an evaluation, and the reason to stop, if there is one."""
    try:
        columns, scores = evaluation(number)
    except NaNLogitsError:
        # The logits at step 0 were not NaN, so training broke the weights.
        return {}, (
            f"At step {number} the logits of the model are NaN; its weights are broken, and a "
            "lower learning_rate may help."
        )
    return columns, _reason(work, evaluation, scores, moved)


def _reason(work: Work, evaluation: Evaluation, scores: Row, moved: float) -> str | None:
    """The stop rule's reason to stop, as decided by the main process; None if there is none."""
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


def _peak_memory(work: Work) -> Row:
    """Peak memory in bytes: of the GPU if the model is on one, otherwise of the process."""
    device = work.training.model.device
    if device.type == "cuda":
        return {"peak_memory": float(torch.cuda.max_memory_allocated(device))}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_memory": float(peak if sys.platform == "darwin" else peak * 1024)}


@dataclass(frozen=True)
class _Clock:
    """Duration of a run, without interruptions."""

    earlier: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return self.earlier + time.perf_counter() - self.started
