"""General utility on the tasks of the LM Evaluation Harness, if it is installed.

The harness loads a task's questions, prompts the model and scores the answers. The result is one
`Score` per metric of a task: question by question, with an interval over questions.
"""

import copy
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from neuronscope.metrics._score import (
    NO_INTERVAL,
    Direction,
    Score,
    mean_score,
    per_fact,
    rate_score,
)
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import frozen
from neuronscope.results.cache import content_of

INSTALL = "pip install 'neuronscope[harness]'"

FIRST_SEED, SEED = 0, 1234
"""The harness's default seeds: for Python's random numbers, and for all others."""

PLAIN_FILTERS = ("none", "")
"""The harness's names for answers that it scores unfiltered."""


@dataclass(frozen=True, eq=False)
class Harness:
    """Tasks that are loaded and ready for scoring models."""

    tasks: tuple[str, ...]
    """The harness's names of tasks, groups or tags."""

    manager: Any
    """The harness's `TaskManager`."""

    folder: Path | None = None
    """A folder of custom tasks."""

    questions: int | None = None
    """Number of questions per task, taken from the start; None for all."""

    @property
    def identity(self) -> dict[str, object]:
        """What scores depend on in addition to the model."""
        return {
            "tasks": list(self.tasks),
            "folder": None if self.folder is None else content_of(self.folder),
            "questions": self.questions,
            "version": version("lm_eval"),
        }

    def score(self, model: HookedModel, task: str, batch: int = 8) -> list[Score]:
        """Score one task, or a group (over all questions of its tasks): one score per metric.

        Seeds, few-shot examples and scoring are those of the task.

        Args:
            batch: Number of questions in a forward pass.
        """
        from lm_eval.evaluator import evaluate
        from lm_eval.models.huggingface import HFLM

        # Not `simple_evaluate`, which lists all installed packages before it returns.
        with frozen(model), _seeded():
            loaded = self.manager.load([task])
            for one in loaded["tasks"].values():
                if one.get_config("num_fewshot") is None:
                    one.set_config(key="num_fewshot", value=0)
                one.set_fewshot_seed(seed=SEED)
            # A copy, because HFLM adds a missing padding token.
            tokenizer = copy.deepcopy(model.tokenizer)
            wrapped = cast(Any, HFLM)(pretrained=model.hf, tokenizer=tokenizer, batch_size=batch)
            results = evaluate(wrapped, loaded, limit=self.questions, bootstrap_iters=0)
        assert results is not None, "processes other than the first get None"
        return scores_of(task, results)


def open_harness(
    tasks: Sequence[str], folder: Path | None = None, questions: int | None = None
) -> Harness:
    """Load tasks.

    Args:
        folder: A folder of custom tasks, as the harness's YAML files. Such a file can name Python
            functions, which are then run: open only folders that you trust.

    Raises:
        ValueError: If the harness is not installed, there is no such task, or `questions` is not
            positive.
        FileNotFoundError: If there is no such folder.
        OSError: If a task's questions are not cached and cannot be downloaded.
    """
    if questions is not None and questions < 1:
        raise ValueError(f"Expected at least 1 question per task, got {questions}.")
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"No folder of tasks at {folder}.")
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ValueError(f"Tasks need the LM Evaluation Harness: {INSTALL}.") from error
    manager = TaskManager(include_path=None if folder is None else str(folder))
    unknown = [task for task in tasks if task not in manager.all_tasks]
    if unknown:
        raise ValueError(
            f"The harness has no task {unknown[0]!r}: `lm-eval ls tasks` lists its tasks; custom "
            "tasks must be in the given folder."
        )
    for task in tasks:
        _fetch(manager, task)
    return Harness(tuple(tasks), manager, folder, questions)


def _fetch(manager: Any, task: str) -> None:
    """Download a task's questions unless they are cached."""
    try:
        manager.load([task])
    except OSError as error:
        raise OSError(
            f"The questions of the harness's task {task!r} cannot be loaded: {error}."
        ) from error


def scores_of(task: str, results: Mapping[str, Any]) -> list[Score]:
    """The scores of a task, from the harness's results.

    A score is a mean over questions, with its interval. If the harness aggregates a metric or a
    group in another way and arrives at a different value, the score is that value, without an
    interval.

    Args:
        results: What `lm_eval.evaluator.evaluate` returns, with samples.
    """
    marks: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    better: dict[str, bool] = {}
    for part, samples in results["samples"].items():
        better |= results["higher_is_better"].get(part, {})
        for sample in samples:
            for metric in sample["metrics"]:
                question = f"{part} {sample['doc_id']}"
                marks.setdefault((metric, sample["filter"]), []).append((question, sample[metric]))
    return [
        _score(
            task if name in PLAIN_FILTERS else f"{task} {name}",
            metric,
            answers,
            "higher is more useful" if better.get(metric, True) else "lower is more useful",
            results["results"].get(task, {}).get(f"{metric},{name}"),
        )
        for (metric, name), answers in marks.items()
    ]


def _score(
    task: str,
    metric: str,
    answers: Sequence[tuple[str, Any]],
    direction: Direction,
    theirs: float | None,
) -> Score:
    """The score of one metric; `theirs` is the harness's value, which some groups lack."""
    name = f"{task} {metric}"
    ids = [question for question, _ in answers]
    values = np.array([_number(value) for _, value in answers])
    if theirs is not None and not math.isclose(values.mean(), theirs, rel_tol=1e-9):
        return Score(
            metric=name,
            value=float(theirs),
            ci95=NO_INTERVAL,
            n=len(ids),
            count=None,
            unit=metric,
            direction=direction,
            chance=None,
            per_fact=per_fact(ids, values),
            reason="The harness reports no value." if math.isnan(theirs) else "",
        )
    if np.isin(values, (0.0, 1.0)).all():
        rate = rate_score(name, ids, values == 1, direction=direction, chance=None)
        return replace(rate, unit="share of questions")
    undefined = "have a result that is not a single number"
    return mean_score(name, ids, values, unit=metric, direction=direction, undefined=undefined)


@contextmanager
def _seeded() -> Iterator[None]:
    """While active, use the harness's seeds; restore the random states afterwards."""
    kept = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            random.seed(FIRST_SEED)
            np.random.seed(SEED)
            torch.manual_seed(SEED)
            yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])


def _number(value: object) -> float:
    """A question's result, or NaN if it is not a single number."""
    return float(value) if isinstance(value, (int, float, np.number, np.bool_)) else math.nan
