"""Score what a model still knows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from neuronscope.analysis.retention import compared, counted, depths
from neuronscope.results.cache import write_table, written_whole
from neuronscope.tasks._facts import read_facts
from neuronscope.tasks._task import (
    Facts,
    Loading,
    Methods,
    Model,
    PromptForm,
    Split,
    Task,
    runs,
)

SCORES, TASKS = "scores", "tasks"
"""The folder of single scores in the folder of a result; and what stands in the place of a split
where the tasks of the LM Evaluation Harness are scored."""

TABLES = ("scores", "strata", "answers")


@dataclass(frozen=True, eq=False)
class Scored:
    """What became of a model's knowledge."""

    scores: pd.DataFrame
    """One row per split and metric, and per task and metric, whose split is `tasks`; columns as in
    `metrics/_score.py`'s `table_of`. Empty if nothing was scored."""

    strata: pd.DataFrame
    """One row per stratum and use; columns as of `analysis.retention.counted`. With a reference
    also `reference` (how many it answers), `gained` and `lost` (facts that the model answers and
    the reference does not, and the other way round), and `p` of McNemar's test."""

    answers: pd.DataFrame
    """Fact by fact; columns as of `metrics.answers`."""

    left_out: tuple[str, ...]
    """A sentence for each metric that was not computed."""

    @property
    def depths(self) -> dict[str, int]:
        """How many facts were forgotten how deeply, as `analysis.retention.depths` says it."""
        counts = depths(self.answers)["forgotten"].value_counts()
        return {str(depth): int(count) for depth, count in counts.items()}


@dataclass(frozen=True)
class Score(Task[Scored]):
    """Score what a model still knows: of what it was to forget, and of what it was to keep."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """The facts, each with its split."""

    metrics: Annotated[Any, Methods("metrics", "Metric")] = None
    """What is measured; none for answers alone (default: all metrics that the facts allow and that
    generate no text)."""

    splits: tuple[Split, ...] = ()
    """The splits that are scored (default: all that have facts)."""

    reference: Annotated[Any, Model()] = None
    """A model to compare with, mostly one that never saw the facts: some metrics need it (default:
    no comparison)."""

    holdout_split: Split | None = None
    """The split whose facts no model ever saw: some metrics need one. Facts that unlearning did
    not see will not do if the model was taught them before (default: there is none)."""

    form: PromptForm = "completion"
    """How a fact is put to the model."""

    tasks: tuple[str, ...] = ()
    """Tasks of the LM Evaluation Harness (mmlu, hellaswag, ...), for what the model can do besides.
    It has to be installed: pip install 'neuronscope[harness]'."""

    task_folder: Path | None = None
    """Tasks of your own, as the harness's YAML files. They can name Python functions, which are
    run: give only a folder that you trust (default: the harness's own tasks)."""

    task_questions: int | None = None
    """How many of each task's questions are put, from the first (default: all)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._models import tokenizers_of

        models = [self.model] if self.reference is None else [self.model, self.reference]
        self.questions(tokenizers_of(models, self.loading))
        if not self.tasks and (self.task_folder is not None or self.task_questions is not None):
            raise ValueError("A folder or number of questions was given, and no task: name tasks.")
        self._harness()

    def questions(self, tokenizers: Any = ()) -> Any:
        """Which metrics are computed on which split.

        Args:
            tokenizers: Those of all models, to check that the facts are fit for them.

        Raises:
            ValueError: If a metric that was named lacks what it needs.
        """
        from neuronscope.tasks._questions import questions_of

        facts = read_facts(self.facts)
        splits = tuple(dict.fromkeys(self.splits))
        return questions_of(
            facts, self.metrics, splits, self.reference, self.holdout_split, self.form, tokenizers
        )

    def decides(self) -> dict[str, Any]:
        harness = self._harness()
        found = {} if harness is None else {"harness": harness.identity}
        return Task.decides(self) | found

    def _harness(self) -> Any:
        from neuronscope.metrics import open_harness

        names = tuple(dict.fromkeys(self.tasks))
        return open_harness(names, self.task_folder, self.task_questions) if names else None

    def _perform(self, folder: Path | None) -> Any:
        if folder is None:
            return self._scored(None)
        with self._writing(folder):
            scored = self._scored(folder)
            for name in TABLES:
                if len(vars(scored)[name].columns):
                    write_table(folder / f"{name}.parquet", vars(scored)[name])
        return scored

    def _scored(self, folder: Path | None) -> Scored:
        from neuronscope.metrics import answers, table_of
        from neuronscope.tasks._models import loaded

        questions, harness = self.questions(), self._harness()
        model = loaded(self.model, self.loading)
        reference = None if self.reference is None else loaded(self.reference, self.loading)
        place = folder and folder / SCORES
        found = self._metrics(questions, model, reference, place)
        if harness is not None:
            found += _tasks(model, harness, place and place / TASKS)
        given = answers(model, questions.facts, self.form, questions.splits)
        strata = counted(given)
        if reference is not None:
            theirs = answers(reference, questions.facts, self.form, questions.splits)
            beside = compared(theirs, given).rename(columns={"first": "reference"})
            strata = strata.merge(beside[["stratum", "use", "reference", "lost", "gained", "p"]])
        scores = table_of(found) if found else pd.DataFrame()
        return Scored(scores, strata, given, questions.left_out)

    def _metrics(
        self, questions: Any, model: Any, reference: Any, folder: Path | None
    ) -> list[tuple[str, Any]]:
        """Every score with its split; those that lie in the folder are not computed again."""
        from neuronscope.display import showing_progress
        from neuronscope.metrics import Score as Value

        found = []
        with showing_progress("scores") as progress:
            for done, one in enumerate(questions.asked, 1):
                place = folder and folder / one.split / f"{one.name}.json"
                if place is not None and place.is_file():
                    found.append((one.split, Value.load(place)))
                else:
                    value = one.metric(model, one.facts, self.form, reference, one.holdout)
                    found.append((one.split, value))
                    if place is not None:
                        place.parent.mkdir(parents=True, exist_ok=True)
                        value.save(place)
                progress(done, len(questions.asked))
        return found


def _tasks(model: Any, harness: Any, folder: Path | None) -> list[tuple[str, Any]]:
    """The scores of every task of the harness; a task's files appear together."""
    from neuronscope.metrics import Score as Value

    found = []
    for task in harness.tasks:
        place = folder and folder / task.replace("/", "__")
        if place is None:
            found += [(TASKS, value) for value in harness.score(model, task)]
            continue
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(place) as unfinished:
                unfinished.mkdir()
                for number, value in enumerate(harness.score(model, task)):
                    value.save(unfinished / f"{number:03}.json")
        found += [(TASKS, Value.load(file)) for file in sorted(place.glob("*.json"))]
    return found


score = runs(Score)
