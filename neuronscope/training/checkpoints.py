"""Checkpoints of a run under way, from which it is resumed to the same numbers.

A checkpoint is a folder among the pieces of the run: `step-<number>`. The one before is deleted
once the new one is whole. Processes that share the data hold the same state, which the main one
writes; where the model is sharded, each process writes its shards.
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
class SoFar:
    """How far a run has come."""

    step: int
    """Updates made."""

    rows: list[Row]
    """The history so far."""

    memory: Memory
    """The regularizer's, after the step."""

    seconds: float
    """Time it took so far."""


def save_checkpoint(workspace: Workspace, work: Work, schedule: LRScheduler, so_far: SoFar) -> None:
    """Write a checkpoint, whole or not at all, and delete the one before."""
    done = workspace.folder / PIECES / f"step-{so_far.step:06d}"
    here = work.processes
    if here.main:
        done.parent.mkdir(exist_ok=True)
    with written_whole(done) if here.main else nullcontext(done) as unfinished:
        if here.main:
            unfinished.mkdir()
        # Its name has the main process's number in it.
        place = here.agreed(unfinished) / _part(work)
        if here.main or here.sharded:
            write_packed(_state(work, schedule, so_far), place, workspace.key)
        here.wait()
    if here.main:
        for other in done.parent.glob("*step-*"):
            if other != done:
                shutil.rmtree(other)
    here.wait()


def load_checkpoint(workspace: Workspace, work: Work, schedule: LRScheduler) -> SoFar | None:
    """Put the run where its last checkpoint was, if there is one.

    Raises:
        ValueError: If it is damaged, or belongs to another run.
    """
    newest = max((workspace.folder / PIECES).glob("step-*"), default=None)
    if newest is None:
        return None
    try:
        parts = read_packed(newest / _part(work), _home(work), workspace.key)
    except Exception as error:
        raise ValueError(
            f"{newest} cannot be read ({' '.join(str(error).split())}): delete it, and the run "
            "begins anew."
        ) from error
    with torch.no_grad():
        for name, parameter in work.parameters.items():
            parameter.copy_(parts["parameters"][name])
    work.optimizer.load_state_dict(parts["optimizer"])
    schedule.load_state_dict(parts["schedule"])
    torch.set_rng_state(parts["random"]["cpu"])
    if "cuda" in parts["random"]:
        torch.cuda.set_rng_state(parts["random"]["cuda"], work.training.model.device)
    return SoFar(parts["step"], parts["rows"], parts["regularizer"], parts["seconds"])


def _state(work: Work, schedule: LRScheduler, so_far: SoFar) -> dict[str, object]:
    return {
        "step": so_far.step,
        "rows": so_far.rows,
        "seconds": so_far.seconds,
        "parameters": {name: p.detach() for name, p in work.parameters.items()},
        "optimizer": work.optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "regularizer": so_far.memory,
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
        there = torch.device(name)
        alone = work.processes.count == 1
        return there if alone or there.type == "cpu" else own

    return Home(device, next(iter(work.parameters.values())))
