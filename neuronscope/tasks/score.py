"""Score which facts a model still answers."""

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
"""The folder of individual scores in a result's folder, and the `split` of scores on tasks of the
LM Evaluation Harness."""

TABLES = ("scores", "strata", "answers")


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of a model."""

    scores: pd.DataFrame
    """One row per split and metric, and per task and metric with split `tasks`; columns as
    returned by `metrics.table_of`. Empty if nothing was scored."""

    strata: pd.DataFrame
    """One row per stratum and use; columns as returned by `analysis.retention.counted`. With a
    reference also `reference` (the number of facts it answers), `gained` and `lost` (facts answered
    by the model but not by the reference, and vice versa), and `p` of McNemar's test."""

    answers: pd.DataFrame
    """One row per fact; columns as returned by `metrics.answers`."""

    left_out: tuple[str, ...]
    """A sentence for each metric that was not computed."""

    @property
    def depths(self) -> dict[str, int]:
        """The number of facts at each depth of forgetting; see `analysis.retention.depths`."""
        counts = depths(self.answers)["forgotten"].value_counts()
        return {str(depth): int(count) for depth, count in counts.items()}


@dataclass(frozen=True)
class Score(Task[Scored]):
    """Score how well a model answers the facts to forget and the facts to retain."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """File or folder of facts with their splits."""

    metrics: Annotated[Any, Methods("metrics", "Metric")] = None
    """Metrics to compute, or none to record only which facts are answered (default: all metrics
    that the facts allow and that generate no text)."""

    splits: tuple[Split, ...] = ()
    """Splits to score (default: all that have facts)."""

    reference: Annotated[Any, Model()] = None
    """Model to compare with, usually one that never learned the facts; some metrics need it
    (default: no comparison)."""

    holdout_split: Split | None = None
    """Split whose facts no model was ever trained on, which some metrics need. Facts left out of
    unlearning do not qualify if the model learned them before (default: no holdout)."""

    form: PromptForm = "completion"
    """Prompt format of the facts."""

    tasks: tuple[str, ...] = ()
    """Tasks of the LM Evaluation Harness (mmlu, hellaswag, ...) that measure general capabilities.
    Needs pip install 'neuronscope[harness]'."""

    task_folder: Path | None = None
    """Folder of custom tasks, as YAML files of the harness. They can execute Python code, so use
    only folders you trust (default: the tasks that ship with the harness)."""

    task_questions: int | None = None
    """Use only the first questions of each task, up to this number (default: all)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._models import tokenizers_of

        models = [self.model] if self.reference is None else [self.model, self.reference]
        self.evaluations(tokenizers_of(models, self.loading))
        if not self.tasks and (self.task_folder is not None or self.task_questions is not None):
            raise ValueError("task_folder and task_questions have no effect without tasks.")
        self._harness()

    def evaluations(self, tokenizers: Any = ()) -> Any:
        """Which metrics are computed on which split.

        Args:
            tokenizers: The tokenizers of all models, to check that they can encode the facts.

        Raises:
            ValueError: If a named metric lacks what it needs.
        """
        from neuronscope.tasks._evaluations import evaluations_of

        facts = read_facts(self.facts)
        splits = tuple(dict.fromkeys(self.splits))
        return evaluations_of(
            facts, self.metrics, splits, self.reference, self.holdout_split, self.form, tokenizers
        )

    def decides(self) -> dict[str, Any]:
        harness = self._harness()
        identity = {} if harness is None else {"harness": harness.identity}
        return Task.decides(self) | identity

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

        evaluations, harness = self.evaluations(), self._harness()
        model = loaded(self.model, self.loading)
        reference = None if self.reference is None else loaded(self.reference, self.loading)
        place = folder and folder / SCORES
        values = self._metrics(evaluations, model, reference, place)
        if harness is not None:
            values += _tasks(model, harness, place and place / TASKS)
        given = answers(model, evaluations.facts, self.form, evaluations.splits)
        strata = counted(given)
        if reference is not None:
            theirs = answers(reference, evaluations.facts, self.form, evaluations.splits)
            both = compared(theirs, given).rename(columns={"first": "reference"})
            strata = strata.merge(both[["stratum", "use", "reference", "lost", "gained", "p"]])
        scores = table_of(values) if values else pd.DataFrame()
        return Scored(scores, strata, given, evaluations.left_out)

    def _metrics(
        self, evaluations: Any, model: Any, reference: Any, folder: Path | None
    ) -> list[tuple[str, Any]]:
        """Every score with its split; scores already in the folder are not computed again."""
        from neuronscope.display import showing_progress
        from neuronscope.metrics import Score as Value

        values = []
        with showing_progress("scores") as progress:
            for done, one in enumerate(evaluations.every, 1):
                place = folder and folder / one.split / f"{one.name}.json"
                if place is not None and place.is_file():
                    values.append((one.split, Value.load(place)))
                else:
                    value = one.metric(model, one.facts, self.form, reference, one.holdout)
                    values.append((one.split, value))
                    if place is not None:
                        place.parent.mkdir(parents=True, exist_ok=True)
                        value.save(place)
                progress(done, len(evaluations.every))
        return values


def _tasks(model: Any, harness: Any, folder: Path | None) -> list[tuple[str, Any]]:
    """The scores of every task of the harness; the files of one task are written together."""
    from neuronscope.metrics import Score as Value

    values = []
    for task in harness.tasks:
        place = folder and folder / task.replace("/", "__")
        if place is None:
            values += [(TASKS, value) for value in harness.score(model, task)]
            continue
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(place) as unfinished:
                unfinished.mkdir()
                for number, value in enumerate(harness.score(model, task)):
                    value.save(unfinished / f"{number:03}.json")
        values += [(TASKS, Value.load(file)) for file in sorted(place.glob("*.json"))]
    return values


score = runs(Score)
