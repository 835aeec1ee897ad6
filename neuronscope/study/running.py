"""Running a study: missing steps are computed, one after another or in parallel.

Parallel engines are those of joblib: `loky` starts processes on this machine, `ray` sends steps to
a Ray cluster. Steps depend only on their folders, so every engine gives the same numbers.
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
"""Seconds between checks that the parent process is alive."""

OnStep = Callable[[Step, int, int], None]
"""Called before each step, with the step's number and the total."""


def run_study(
    plan: Plan,
    out: Path,
    engine: Engine,
    workers: int,
    on_step: OnStep,
    figures: FigureKind | None = None,
) -> Path:
    """Compute the missing steps of a study, and write its tables and report.

    After an interruption, the same call resumes. A folder can hold the steps of several studies.

    Args:
        figures: The file format in which to write every figure of the report; None for no files.

    Returns:
        The path of the report.

    Raises:
        ValueError, FileExistsError: If something is wrong with the input or the folder.
    """
    began = time.time()
    check_engine(engine, workers)
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: choose a folder.")
    if out.is_dir() and any(out.iterdir()) and not (out / STEPS).is_dir():
        raise FileExistsError(f"{out} exists and is not a study: choose another folder.")
    (out / STEPS).mkdir(parents=True, exist_ok=True)
    with _alone_in(out):
        run_plan(plan, out, engine, workers, on_step)
        report = report_study(plan, out, figures)
        write_json(out / MANIFEST, describe(began))
    return report


def _alone_in(out: Path) -> AbstractContextManager[object]:
    """Prevent a second study from writing to the same folder; the lock ends with the process."""
    try:
        return FileLock(out / STEPS / "lock", timeout=0).acquire()
    except Timeout:
        raise ValueError(
            f"A study is running in {out}: wait for it, or choose another folder."
        ) from None


def check_engine(engine: str, workers: int) -> None:
    """Check that an engine exists and is installed.

    Raises:
        ValueError: If not; the message says which engines exist or what to install.
    """
    if engine not in get_args(Engine):
        raise ValueError(f"No engine {engine!r}: expected one of {', '.join(get_args(Engine))}.")
    if workers < 1:
        raise ValueError(f"Expected 1 worker or more, got {workers}.")
    if engine == "ray":
        _register_ray()


def run_plan(plan: Plan, out: Path, engine: Engine, workers: int, on_step: OnStep) -> None:
    """Compute every step of a plan that is not done.

    Args:
        workers: Steps that run at the same time; they share the threads of this process.
    """
    left = [step for step in plan.once if not step.done(out)]
    total = len(left)
    if engine == "sequential":
        for place, step in enumerate(left, 1):
            on_step(step, place, total)
            perform(step, out)
        return
    threads = max(1, torch.get_num_threads() // workers)
    # Ray manages its own workers, which end with the job.
    parent = os.getpid() if engine == "loky" else None
    done = {step.key for step in plan.steps} - {step.key for step in left}
    place = 0
    with parallel_config(backend=engine, n_jobs=workers):
        while left:
            ready = [step for step in left if done.issuperset(step.needs)]
            for step in ready:
                place += 1
                on_step(step, place, total)
            Parallel()(delayed(_alone)(step, out, threads, parent) for step in ready)
            done |= {step.key for step in ready}
            left = [step for step in left if step.key not in done]


def _alone(step: Step, out: Path, threads: int, parent: int | None) -> None:
    """Compute a step in a separate process, which ends with its parent."""
    if parent is not None:
        _end_with(parent)
    torch.set_num_threads(threads)
    perform(step, out)


def perform(step: Step, out: Path) -> None:
    """Compute one step; the steps it depends on must be done.

    Args:
        out: The study's folder.
    """

    def result(one: Produced) -> Any:
        path = out / one.place
        if one.base is None:
            return path
        # An adapter needs the model that it was trained on.
        adapted = (path / "adapter_config.json").is_file()
        return _loaded(str(path), one.base if adapted else None)

    task: Any = step.task_with(result)
    models = {name for name, held in markers_of(type(task)).items() if isinstance(held, Model)}
    sources = {name: one for name, one in vars(task).items() if name in models}
    given = {name: _loaded(one) for name, one in sources.items() if isinstance(one, str)}
    replace(task, **given).run(step.folder(out))


@lru_cache(maxsize=2)
def _loaded(source: str, base: str | None = None) -> HookedModel:
    """A model; the last two stay in memory, because consecutive steps use the same models."""
    return load_model(source, base=base)


@cache
def _end_with(parent: int) -> None:
    """Make this process end when its parent is gone.

    Otherwise the workers of a killed study would keep writing to the folders of steps that a
    restarted study is computing.
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
