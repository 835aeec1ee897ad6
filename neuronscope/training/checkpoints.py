"""Checkpoints of an unfinished run. A resumed run gives the same numbers as an uninterrupted one.

A checkpoint is the folder `step-<number>` in the folder of the run's pieces. The previous
checkpoint is deleted once the new one is complete. With data parallelism all processes hold the
same state, and the main process writes it; with a sharded model each process writes its shards.
"""

import shutil
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch.optim.lr_scheduler import LRScheduler

from neuronscope.regularizers import Memory
from neuronscope.results.cache import PIECES, Workspace, written_whole
from neuronscope.results.history import Row
from neuronscope.training.packing import Home, read_packed, write_packed
from neuronscope.training.work import Work


@dataclass(frozen=True, eq=False)
class RunState:
    """The state of a run after some step."""

    step: int
    """Number of updates made."""

    rows: list[Row]
    """The history so far."""

    memory: Memory
    """The regularizer's memory after the step."""

    seconds: float
    """Duration so far."""


def save_checkpoint(
    workspace: Workspace, work: Work, schedule: LRScheduler, state: RunState
) -> None:
    """Write a checkpoint atomically, and delete the previous one."""
    done = workspace.folder / PIECES / f"step-{state.step:06d}"
    processes = work.processes
    if processes.main:
        done.parent.mkdir(exist_ok=True)
    with written_whole(done) if processes.main else nullcontext(done) as unfinished:
        if processes.main:
            unfinished.mkdir()
        # The temporary name contains the process id of the main process.
        place = processes.agreed(unfinished) / _part(work)
        if processes.main or processes.sharded:
            write_packed(_contents(work, schedule, state), place, workspace.key)
        processes.wait()
    if processes.main:
        for other in done.parent.glob("*step-*"):
            if other != done:
                shutil.rmtree(other)
    processes.wait()


def load_checkpoint(workspace: Workspace, work: Work, schedule: LRScheduler) -> RunState | None:
    """Restore the run's last checkpoint, if there is one.

    Raises:
        ValueError: If the checkpoint is damaged, or belongs to a different run.
    """
    newest = max((workspace.folder / PIECES).glob("step-*"), default=None)
    if newest is None:
        return None
    try:
        parts = read_packed(newest / _part(work), _home(work), workspace.key)
    except Exception as error:
        raise ValueError(
            f"The checkpoint {newest} cannot be read ({' '.join(str(error).split())}); delete it "
            "to start the run again from the beginning."
        ) from error
    with torch.no_grad():
        for name, parameter in work.parameters.items():
            parameter.copy_(parts["parameters"][name])
    work.optimizer.load_state_dict(parts["optimizer"])
    schedule.load_state_dict(parts["schedule"])
    torch.set_rng_state(parts["random"]["cpu"])
    if "cuda" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"]["cuda"], work.training.model.device)
    return RunState(parts["step"], parts["rows"], parts["regularizer"], parts["seconds"])


def _contents(work: Work, schedule: LRScheduler, state: RunState) -> dict[str, object]:
    return {
        "step": state.step,
        "rows": state.rows,
        "seconds": state.seconds,
        "parameters": {name: p.detach() for name, p in work.parameters.items()},
        "optimizer": work.optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "regularizer": state.memory,
        "random": _random_states(work),
    }


def _part(work: Work) -> str:
    return f"process-{work.processes.index if work.processes.sharded else 0:05d}"


def _random_states(work: Work) -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    device = work.training.model.device
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _home(work: Work) -> Home:
    own = work.training.model.device

    def device(name: str) -> torch.device:
        saved = torch.device(name)
        return saved if work.processes.count == 1 or saved.type == "cpu" else own

    return Home(device, next(iter(work.parameters.values())))
