"""Everything that a study's report is made of: tables and plain values, no models.

A study unlearns one model with several methods and seeds, and scores, attacks and diagnoses every
checkpoint. Facts are what was sampled; seeds repeat a method on the same facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from neuronscope.results.retention_table import COUNTED
from neuronscope.results.score_table import COLUMNS as SCORE_COLUMNS

BEFORE = "original"
"""In the column `method` of strata and scores: the model before unlearning."""

FORGOTTEN, TRAINED, HELD_OUT = "forget", "retain", "test"
"""In the column `use` of strata: facts to be forgotten; facts to be kept that unlearning was given;
facts to be kept that it never saw."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "runs": (
        "method", "seed", "objective", "regularizer", "stop", "stopped", "steps", "seconds",
        "update_norm", "asked_forget", "answered_forget_before", "answered_forget",
        "log_odds_before", "log_odds",
    ),
    "strata": ("method", "seed", *COUNTED),
    "scores": ("method", "seed", *SCORE_COLUMNS),
    "recovery": (
        "method", "run_seed", "attack", "model", "variant", "split", "n", "before_correct",
        "maximum_correct", "area", "attacked_correct", "attacked_n", "learnt", "recovered",
        "reason", "reading",
    ),
    "by_learning_rate": (
        "method", "run_seed", "attack", "model", "variant", "split", "lr", "n", "before_correct",
        "maximum_correct",
    ),
    "curves": (
        "method", "run_seed", "attack", "model", "variant", "split", "lr", "step", "budget",
        "correct", "n",
    ),
    "comparisons": (
        "attack", "variant", "method", "other", "facts", "difference", "low", "high", "p",
        "reading",
    ),
    "retention": (
        "stratum", "use", "method", "other", "facts", "difference", "low", "high", "p", "reading",
    ),
    "diagnoses": (
        "method", "seed", "verdict", "why", "hidden_share", "low", "high", "reading",
        "d_plus", "d_minus",
    ),
    "stability": (
        "method", "seed", "attack", "stopped", "unit", "pearson", "spearman", "n_neurons",
        "d_plus", "d_minus",
    ),
}  # fmt: skip
"""The columns that each table has at least."""


@dataclass(frozen=True, eq=False)
class StudyTables:
    """What a study found. Any table but `runs` may be empty: its part of the page is left out."""

    question: str
    """What the study was to answer, in one sentence."""

    runs: pd.DataFrame
    """One row per method and seed.

    | column | what it is |
    |---|---|
    | `method`, `seed` | what a reader calls the method; the seed of the run |
    | `objective`, `regularizer`, `stop` | a name, maybe with settings: `ssiuu (relative=1.0)`; an |
    |  | empty `regularizer` is none |
    | `stopped` | why the run ended, in a sentence |
    | `steps`, `seconds`, `update_norm` | updates made; what they took; ‖θ − θ0‖ at the end |
    | `asked_forget`, `answered_forget_before`, `answered_forget` | facts to be forgotten |
    | `log_odds_before`, `log_odds` | mean log-odds of their answers, nats per token |
    | `strength` | if known: λ of the regularizer, at the median step; NaN without one |
    """

    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Answers by kind of fact: `method`, `seed`, `stratum`, `use`, `correct`, `n`, and the 95 %
    Wilson interval `low`, `high`. Strata of one use share no fact; of use `forget` they are the
    same facts, asked in several ways. Method `original` is the model before."""

    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Metrics: `method`, `seed`, `metric`, `split`, and the fields of a score: `value`, `low`,
    `high`, `n`, `count`, `unit`, `chance`, `direction`, `reason`."""

    recovery: pd.DataFrame = field(default_factory=pd.DataFrame)
    """How much each attack brought back: the columns of `attacks/_recovery.py`'s `recovery`, with
    `method` and `run_seed`, the seed of the run that was attacked; and, if there is something to
    know of an attack, `note`: a sentence, or nothing."""

    by_learning_rate: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The same at each learning rate by itself: the columns of its `by_learning_rate`, with
    `method` and `run_seed`."""

    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The same by budget: the columns of its `curves`, with `method` and `run_seed`."""

    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Paired tests, facts as units: `attack`, `variant`, `method`, `other`, `facts`, `difference`
    (share of facts brought back from `method` minus from `other`: below 0, less came back from
    `method`), its interval `low`, `high`, `p` (of this test alone), `reading` (a sentence)."""

    retention: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The same of the facts to be kept, by `stratum` and `use`: above 0, `method` kept more."""

    diagnoses: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`method`, `seed`, `verdict`, `why`, `hidden_share` with `low` and `high`, `reading`,
    `d_plus`, `d_minus`; and, if there is one, `report`: the path of the run's own page, relative
    to this one."""

    stability: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What an attack did to the neurons of each run: `method`, `seed`, `attack`, `stopped` (why it
    ended, in a sentence); `pearson` and `spearman`, correlations of the influence of `n_neurons`
    after unlearning and after the attack; `d_plus` and `d_minus`, from before unlearning to after
    the attack, in `unit`."""

    moved: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """The same neuron by neuron, of one run of each method: tables as `stability_scatter` takes."""

    histories: Mapping[tuple[str, int], pd.DataFrame] = field(default_factory=dict)
    """Of runs, by method and seed: the tables in `results/history.py`."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Nested plain values: everything that decided the numbers."""

    reproduce: str = ""
    """The shell command that makes the study again."""

    warnings: tuple[str, ...] = ()
    """Sentences that a reader must know before believing the page."""

    def __post_init__(self) -> None:
        if self.runs.empty:
            raise ValueError("Expected a study of one run at least, but `runs` has no rows.")
        for name in (each.name for each in fields(self) if each.name in COLUMNS):
            table: pd.DataFrame = getattr(self, name)
            missing = [column for column in COLUMNS[name] if column not in table.columns]
            if missing and not table.empty:
                raise ValueError(f"`{name}` of the study lacks {', '.join(missing)}.")
        twice = self.runs.loc[self.runs.duplicated(["method", "seed"])]
        if len(twice):
            run = f"method {twice['method'].iloc[0]!r}, seed {twice['seed'].iloc[0]}"
            raise ValueError(f"Expected one row of `runs` per method and seed, got two for {run}.")

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in the order of their runs."""
        return tuple(dict.fromkeys(self.runs["method"]))
