"""Score what a model still knows."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pandas as pd

from neuronscope.tasks._task import Facts, Loading, Methods, Model, PromptForm, Split, Task, runs


@dataclass(frozen=True, eq=False)
class Scored:
    """What became of a model's knowledge."""

    scores: pd.DataFrame
    strata: pd.DataFrame
    answers: pd.DataFrame
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Score(Task[Scored]):
    """Score what a model still knows: of what it was to forget, and of what it was to keep."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """The facts, each with its split."""

    metrics: Annotated[Any, Methods("metrics", "Metric")] = ()
    """What is measured (default: all metrics that the facts allow and that generate no text)."""

    splits: tuple[Split, ...] = ()
    """The splits that are scored (default: all that have facts)."""

    reference: Annotated[Any, Model()] = None
    """A model to compare with, mostly one that never saw the facts: some metrics need it."""

    holdout_split: Split | None = None
    """The split whose facts no model ever saw: some metrics need one. Facts that unlearning did
    not see will not do if the model was taught them before."""

    form: PromptForm = "completion"
    """How a fact is put to the model."""

    tasks: tuple[str, ...] = ()
    """Tasks of the LM Evaluation Harness (mmlu, hellaswag, ...), for what the model can do besides.
    It has to be installed: pip install 'neuronscope[harness]'."""

    task_folder: Path | None = None
    """Tasks of your own, as the harness's YAML files. They can name Python functions, which are
    run: give only a folder that you trust."""

    task_questions: int | None = None
    """How many of each task's questions are put, from the first (default: all)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None: ...

    def _perform(self, folder: Path | None) -> Any: ...


score = runs(Score)
