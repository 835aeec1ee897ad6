"""Checkpoints of a run under way, from which it goes on to the same numbers.

Beside a checkpoint that is being written lies the one before, which goes when the new one is whole.
Processes that share the data hold the same, which the main one writes; where the model is sharded,
each process writes its shards.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LRScheduler

from neuronscope.regularizers import Memory
from neuronscope.training.history import Row
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


def save_checkpoint(folder: Path, work: Work, schedule: LRScheduler, so_far: SoFar) -> None:
    """Write `folder/step-<number>`, whole or not at all, and delete the one before."""
    done = folder / f"step-{so_far.step:06d}"
    partial = done.with_suffix(".partial")
    here = work.processes
    if here.main:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    here.wait()
    if here.main or here.sharded:
        parts = {
            "step": so_far.step,
            "rows": so_far.rows,
            "seconds": so_far.seconds,
            "parameters": {name: p.detach() for name, p in work.parameters.items()},
            "optimizer": work.optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "regularizer": so_far.memory,
            "random": _random_states(work),
        }
        write_packed(parts, partial / _part(work))
    here.wait()
    if here.main:
        partial.rename(done)
        for other in folder.iterdir():
            if other != done:
                shutil.rmtree(other)
    here.wait()


def load_checkpoint(folder: Path, work: Work, schedule: LRScheduler) -> SoFar | None:
    """Put the run where its last checkpoint was, if there is one.

    Raises:
        ValueError: If it cannot be read.
    """
    found = [path for path in folder.glob("step-*") if path.suffix != ".partial"]
    if not found:
        return None
    newest = max(found)
    try:
        parts = read_packed(newest / _part(work), _home(work))
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
