"""General utility by the tasks of the LM Evaluation Harness, where it is installed.

The harness finds a task's questions, puts them and marks the answers. What comes back is one of our
scores for each of a task's metrics: question by question, with an interval over questions.
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
from neuronscope.models.hooked_model import HookedModel, frozen
from neuronscope.results.cache import content_of

INSTALL = "pip install 'neuronscope[harness]'"

FIRST_SEED, SEED = 0, 1234
"""The harness's own: of Python's random numbers, and of all others."""

PLAIN_FILTERS = ("none", "")
"""What the harness calls answers that it marks as they are."""


@dataclass(frozen=True, eq=False)
class Harness:
    """Tasks that were found, ready to be put to models."""

    tasks: tuple[str, ...]
    """Of tasks, groups and tags, as the harness calls them."""

    manager: Any
    """The harness's own `TaskManager`."""

    folder: Path | None = None
    """Of tasks of one's own."""

    questions: int | None = None
    """How many of each task's questions are put, from the first; None: all."""

    @property
    def identity(self) -> dict[str, object]:
        """What scores depend on besides the model."""
        return {
            "tasks": list(self.tasks),
            "folder": None if self.folder is None else content_of(self.folder),
            "questions": self.questions,
            "version": version("lm_eval"),
        }

    def score(self, model: HookedModel, task: str, batch: int = 8) -> list[Score]:
        """One task's metrics, or a group's over the questions of all its tasks.

        Seeds, few-shot examples and marking are the task's own.

        Args:
            batch: Questions that pass through the model together.
        """
        from lm_eval.evaluator import evaluate
        from lm_eval.models.huggingface import HFLM

        # Not `simple_evaluate`, which lists all installed packages before it returns.
        with frozen(model), _seeded():
            asked = self.manager.load([task])
            for one in asked["tasks"].values():
                if one.get_config("num_fewshot") is None:
                    one.set_config(key="num_fewshot", value=0)
                one.set_fewshot_seed(seed=SEED)
            # It gives a tokenizer without a padding token one.
            words = copy.deepcopy(model.tokenizer)
            judge = cast(Any, HFLM)(pretrained=model.hf, tokenizer=words, batch_size=batch)
            found = evaluate(judge, asked, limit=self.questions, bootstrap_iters=0)
        assert found is not None, "only other processes get None"
        return scores_of(task, found)


def open_harness(
    tasks: Sequence[str], folder: Path | None = None, questions: int | None = None
) -> Harness:
    """Find tasks.

    Args:
        folder: Of tasks of one's own, as the harness's YAML files. Such a file can name Python
            functions, which are then run: open only folders that you trust.

    Raises:
        ValueError: If the harness is not installed, there is no such task, or `questions` is not
            positive.
        FileNotFoundError: If there is no such folder.
        OSError: If a task's questions are neither here nor to be downloaded.
    """
    if questions is not None and questions < 1:
        raise ValueError(f"Expected 1 question or more of each task, got {questions}.")
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
            f"The harness has no task {unknown[0]!r}: `lm-eval ls tasks` lists them; tasks of your "
            "own are found in the folder that is given."
        )
    for task in tasks:
        _fetch(manager, task)
    return Harness(tuple(tasks), manager, folder, questions)


def _fetch(manager: Any, task: str) -> None:
    """Bring a task's questions here: they are downloaded once."""
    try:
        manager.load([task])
    except OSError as error:
        raise OSError(
            f"The questions of the harness's task {task!r} are not to be had: {error}."
        ) from error


def scores_of(task: str, found: Mapping[str, Any]) -> list[Score]:
    """The scores of a task, from what the harness found.

    A score is a mean over questions, with the interval of one, unless the harness comes to another
    value, because it draws the metric or the group together in another way: then its value stands,
    without an interval.

    Args:
        found: As `lm_eval.evaluator.evaluate` returns it, with its samples.
    """
    marked: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    better: dict[str, bool] = {}
    for part, samples in found["samples"].items():
        better |= found["higher_is_better"].get(part, {})
        for sample in samples:
            for metric in sample["metrics"]:
                question = f"{part} {sample['doc_id']}"
                marked.setdefault((metric, sample["filter"]), []).append((question, sample[metric]))
    return [
        _score(
            task if name in PLAIN_FILTERS else f"{task} {name}",
            metric,
            answers,
            "higher is more useful" if better.get(metric, True) else "lower is more useful",
            found["results"].get(task, {}).get(f"{metric},{name}"),
        )
        for (metric, name), answers in marked.items()
    ]


def _score(
    task: str,
    metric: str,
    answers: Sequence[tuple[str, Any]],
    direction: Direction,
    theirs: float | None,
) -> Score:
    """One metric; `theirs` is the harness's value, which not all groups have."""
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
            reason="The harness has no value." if math.isnan(theirs) else "",
        )
    if np.isin(values, (0.0, 1.0)).all():
        rate = rate_score(name, ids, values == 1, direction=direction, chance=None)
        return replace(rate, unit="share of questions")
    undefined = "are questions whose mark is more than a number"
    return mean_score(name, ids, values, unit=metric, direction=direction, undefined=undefined)


@contextmanager
def _seeded() -> Iterator[None]:
    """The harness's seeds, and afterwards those that were."""
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
    """A question's mark, or NaN where it is more than one number."""
    return float(value) if isinstance(value, (int, float, np.number, np.bool_)) else math.nan
