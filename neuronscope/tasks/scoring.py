"""What the command does that scores a model: check, load, score, write.

Whatever can be wrong with the input is found before a model is loaded, where it can be.
"""

import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from neuronscope.analysis.retention import compared, counted, depths
from neuronscope.facts.fact import facts_hash
from neuronscope.facts.loading import load_facts
from neuronscope.metrics import Harness, Score, answers, open_harness, table_of
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model
from neuronscope.results.cache import MANIFEST, check_free, open_shelf, whole, write_json
from neuronscope.tasks.asking import Questions, questions_of
from neuronscope.tasks.checking import tokenizers_of
from neuronscope.tasks.manifest import describe
from neuronscope.tasks.options import ModelOptions
from neuronscope.tasks.progress import bar
from neuronscope.training.plan import described, identified

SCORES = "scores"

TASKS = "tasks"
"""What stands in the place of a split where the harness's tasks are scored."""

TABLES = ("scores", "strata", "answers")


@dataclass(frozen=True, eq=False)
class Scored:
    """What became of a model's knowledge."""

    scores: pd.DataFrame
    """A row per split and metric, and per task and metric, whose split is `tasks`; columns as in
    `metrics/_score.py`'s `table_of`."""

    strata: pd.DataFrame
    """A row per stratum and use; columns as of `counted` in `strata.py`. With a reference also
    `reference` (how many it answers), `gained` and `lost` (facts that the model answers and the
    reference does not, and the other way round), and `p` of McNemar's test."""

    answers: pd.DataFrame
    """Fact by fact; columns as of `answers` in `strata.py`."""

    left_out: tuple[str, ...]
    """A sentence for each metric that was not to be had."""

    @property
    def depths(self) -> dict[str, int]:
        """How many facts were forgotten how deeply, as said by `depths` in `strata.py`."""
        counts = depths(self.answers)["forgotten"].value_counts()
        return {str(depth): int(count) for depth, count in counts.items()}


def score_checkpoint(
    source: str,
    facts: Path,
    out: Path,
    metrics: tuple[str, ...],
    splits: tuple[str, ...],
    reference: str | None,
    holdout_split: str | None,
    form: str,
    loading: ModelOptions,
    tasks: tuple[str, ...] = (),
    task_folder: Path | None = None,
    task_questions: int | None = None,
) -> Scored:
    """Score a model on splits of the facts, and write every score, a table and a manifest to `out`.

    Interrupted, the same call goes on after the last finished score, to the same numbers.

    Args:
        metrics: As for `questions_of`, and so are the others.
        tasks: Of the LM Evaluation Harness, as for `open_harness`, and so are the last two.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    began = time.time()
    check_free(out)
    given = load_facts(facts)
    sources = [source] if reference is None else [source, reference]
    words = tokenizers_of(sources, loading)
    asked = questions_of(given, metrics, splits, reference, holdout_split, form, words)
    if not tasks and (task_folder is not None or task_questions is not None):
        raise ValueError("A folder or number of questions was given, and no task: name tasks.")
    harness = open_harness(tasks, task_folder, task_questions) if tasks else None
    model, *others = (load_model(one, **asdict(loading)) for one in sources)
    plan = {
        "model": identified(model),
        "reference": identified(others[0]) if others else None,
        "facts": {"source": str(facts), "hash": facts_hash(given)},
        "splits": list(asked.splits),
        "metrics": {one.name: described(one.metric) for one in asked.wanted},
        "holdout_split": holdout_split,
        "form": form,
        "tasks": None if harness is None else harness.identity,
        "loading": asdict(loading),
    }
    shelf = open_shelf(out.resolve(), plan)
    scored = score(model, asked, others[0] if others else None, shelf / SCORES, harness)
    with whole(shelf, out.resolve()) as folder:
        shutil.copytree(shelf / SCORES, folder / SCORES)
        for name in TABLES:
            vars(scored)[name].to_parquet(folder / f"{name}.parquet", index=False)
        left_out = {"left_out": list(scored.left_out)}
        write_json(folder / MANIFEST, describe(began) | plan | left_out)
    return scored


def score(
    model: HookedModel,
    asked: Questions,
    reference: HookedModel | None,
    folder: Path,
    harness: Harness | None = None,
) -> Scored:
    """Score a model.

    Args:
        reference: The model to compare with.
        folder: For every score, in `SPLIT/METRIC.json`, and `tasks/TASK/` with one file for each of
            a task's metrics; those that are there are not made again.
        harness: Tasks that are put to the model besides.
    """
    found = []
    with bar("scores") as progress:
        for done, one in enumerate(asked.wanted, 1):
            place = folder / one.split / f"{one.name}.json"
            if not place.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                one.metric(model, one.facts, asked.form, reference, one.holdout).save(place)
            found.append((one.split, Score.load(place)))
            progress(done, len(asked.wanted))
    if harness is not None:
        found += _tasks(model, harness, folder / TASKS)
    given = answers(model, asked.facts, asked.form, asked.splits)
    strata = counted(given)
    if reference is not None:
        theirs = answers(reference, asked.facts, asked.form, asked.splits)
        beside = compared(theirs, given).rename(columns={"first": "reference"})
        strata = strata.merge(beside[["stratum", "use", "reference", "lost", "gained", "p"]])
    return Scored(table_of(found), strata, given, asked.left_out)


def _tasks(model: HookedModel, harness: Harness, folder: Path) -> list[tuple[str, Score]]:
    """The scores of every task; a task's files appear together."""
    found = []
    for task in harness.tasks:
        place = folder / task.replace("/", "__")
        if not place.is_dir():
            unfinished = place.with_name(f".{place.name}")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            for number, one in enumerate(harness.score(model, task)):
                one.save(unfinished / f"{number:03}.json")
            unfinished.replace(place)
        found += [(TASKS, Score.load(file)) for file in sorted(place.glob("*.json"))]
    return found
