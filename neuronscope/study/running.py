"""Running a study: what is missing is computed, one step after another or spread out.

Spreading is joblib's: `loky` starts processes on this machine, `ray` hands the steps to a Ray
cluster. Steps depend on nothing but their folders, so that every engine gives the same numbers.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal, get_args

import torch
from joblib import Parallel, delayed, parallel_config

from neuronscope.study.plan import Plan, Step
from neuronscope.study.steps import perform

Engine = Literal["sequential", "loky", "ray"]

PATIENCE = 0.5
"""Seconds between two looks at whether the parent is there."""

Told = Callable[[Step, int, int], None]
"""Told each step before it begins, with its place and how many there are."""


def check_engine(engine: str, workers: int) -> None:
    """Refuse an engine that is not there.

    Raises:
        ValueError: With what there is, or what to install.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"No engine {engine!r}: there are {', '.join(get_args(Engine))}.")
    if workers < 1:
        raise ValueError(f"Expected 1 worker or more, got {workers}.")
    if engine == "ray":
        _register_ray()


def run_plan(plan: Plan, out: Path, engine: Engine, workers: int, told: Told) -> None:
    """Do every step of a plan that is not done.

    Args:
        workers: Steps at a time; the threads of this process are divided among them.
    """
    # Methods that differ in name alone share their steps.
    once = {step.key: step for step in plan.steps}
    left = [step for step in once.values() if not step.done(out)]
    total = len(left)
    if engine == "sequential":
        for place, step in enumerate(left, 1):
            told(step, place, total)
            perform(step, plan, out)
        return
    threads = max(1, torch.get_num_threads() // workers)
    # Ray's workers are its own, and end with the job.
    parent = os.getpid() if engine == "loky" else None
    done = {step.key for step in plan.steps} - {step.key for step in left}
    place = 0
    with parallel_config(backend=engine, n_jobs=workers):
        while left:
            ready = [step for step in left if done.issuperset(step.needs)]
            for step in ready:
                place += 1
                told(step, place, total)
            Parallel()(delayed(_alone)(step, plan, out, threads, parent) for step in ready)
            done |= {step.key for step in ready}
            left = [step for step in left if step.key not in done]


def _alone(step: Step, plan: Plan, out: Path, threads: int, parent: int | None) -> None:
    """A step in a process of its own, which ends with the one that asked for it."""
    if parent is not None:
        _end_with(parent)
    torch.set_num_threads(threads)
    perform(step, plan, out)


@cache
def _end_with(parent: int) -> None:
    """Once in a process: end it when its parent is gone.

    Else a study that was killed would go on in its workers, and write to the folders of steps that
    the same command, given again, is at.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PATIENCE)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _register_ray() -> None:
    try:
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ValueError("The engine 'ray' needs Ray: pip install 'neuronscope[ray]'.") from error
    register_ray()
