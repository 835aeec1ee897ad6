"""Running a study: what is missing is computed, one step after another or spread out.

Spreading is joblib's: `loky` starts processes on this machine, `ray` hands the steps to a Ray
cluster. Steps depend on nothing but their folders, so that every engine gives the same numbers.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from filelock import FileLock, Timeout
from joblib import Parallel, delayed, parallel_config

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model
from neuronscope.report.drawing import Kind as FigureKind
from neuronscope.results.cache import MANIFEST, write_json
from neuronscope.study.plan import STEPS, Plan, Produced, Step
from neuronscope.study.reporting import report_study
from neuronscope.tasks import Model, markers_of
from neuronscope.tasks.manifest import describe

Engine = Literal["sequential", "loky", "ray"]

PATIENCE = 0.5
"""Seconds between two looks at whether the parent is there."""

Told = Callable[[Step, int, int], None]
"""Told each step before it begins, with its place and how many there are."""


def run_study(
    plan: Plan,
    out: Path,
    engine: Engine,
    workers: int,
    told: Told,
    figures: FigureKind | None = None,
) -> Path:
    """Compute what is missing of a study, and write its tables and report.

    After an interruption the same call resumes; a folder may hold the steps of several studies.

    Args:
        figures: In which format every figure of the report is written as well; None: not at all.

    Returns:
        The report.

    Raises:
        ValueError, FileExistsError: What is wrong with the input, in one line.
    """
    began = time.time()
    check_engine(engine, workers)
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: choose a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / STEPS).is_dir():
        raise FileExistsError(f"{out} exists, and is no study: choose another folder.")
    (out / STEPS).mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        run_plan(plan, out, engine, workers, told)
        report = report_study(plan, out, figures)
        write_json(out / MANIFEST, describe(began))
    return report


def _alone_in(out: Path) -> AbstractContextManager[object]:
    """Keep a second study from writing to these steps; the lock ends with the process."""
    try:
        return FileLock(out / STEPS / "lock", timeout=0).acquire()
    except Timeout:
        raise ValueError(
            f"A study is running in {out}: wait for it, or choose another folder."
        ) from None


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
    left = [step for step in plan.once if not step.done(out)]
    total = len(left)
    if engine == "sequential":
        for place, step in enumerate(left, 1):
            told(step, place, total)
            perform(step, out)
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
            Parallel()(delayed(_alone)(step, out, threads, parent) for step in ready)
            done |= {step.key for step in ready}
            left = [step for step in left if step.key not in done]


def _alone(step: Step, out: Path, threads: int, parent: int | None) -> None:
    """A step in a process of its own, which ends with the one that asked for it."""
    if parent is not None:
        _end_with(parent)
    torch.set_num_threads(threads)
    perform(step, out)


def perform(step: Step, out: Path) -> None:
    """Compute one step, whose predecessors are done.

    Args:
        out: The study's folder.
    """

    def found(one: Produced) -> Any:
        place = out / one.place
        if one.base is None:
            return place
        # An adapter stands on the model that it was trained on.
        adapted = (place / "adapter_config.json").is_file()
        return _loaded(str(place), one.base if adapted else None)

    task: Any = step.task_with(found)
    models = {name for name, held in markers_of(type(task)).items() if isinstance(held, Model)}
    sources = {name: one for name, one in vars(task).items() if name in models}
    given = {name: _loaded(one) for name, one in sources.items() if isinstance(one, str)}
    replace(task, **given).run(step.folder(out))


@lru_cache(maxsize=2)
def _loaded(source: str, base: str | None = None) -> HookedModel:
    """A model; the last two stay in memory, because step after step uses them."""
    return load_model(source, base=base)


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
