"""The results of a study, from which its report is made: tables and plain values.

A study unlearns one model with several methods and seeds, and scores, attacks and diagnoses every
checkpoint. Facts are the sampling unit; seeds repeat a method on the same facts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import pandas as pd

from neuronscope.results.retention_table import COUNTED
from neuronscope.results.score_table import COLUMNS as SCORE_COLUMNS

BEFORE = "original"
"""In the column `method` of strata and scores: the original model, before unlearning."""

FORGOTTEN, TRAINED, HELD_OUT = "forget", "retain", "test"
"""In the column `use` of strata: facts to be forgotten; facts to be kept that unlearning
trained on; facts to be kept that it never saw."""

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
        "attack", "variant", "method", "other", "facts", "runs", "difference", "low", "high", "p",
        "reading",
    ),
    "retention": (
        "stratum", "use", "method", "other", "facts", "runs", "difference", "low", "high", "p",
        "reading",
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
"""The required columns of each table."""


@dataclass(frozen=True, eq=False)
class StudyTables:
    """The results of a study. Tables except `runs` may be empty; the page omits their sections."""

    question: str
    """The research question, in one sentence."""

    runs: pd.DataFrame
    """One row per method and seed.

    | column | what it is |
    |---|---|
    | `method`, `seed` | displayed name of the method; seed of the run |
    | `objective`, `regularizer`, `stop` | name, with settings if any: `ssiuu (relative=1.0)`; |
    |  | `regularizer` is empty for none |
    | `stopped` | why the run ended, in a sentence |
    | `steps`, `seconds`, `update_norm` | updates; their duration; ‖θ − θ0‖ at the end |
    | `asked_forget`, `answered_forget_before`, `answered_forget` | facts to be forgotten |
    | `log_odds_before`, `log_odds` | mean log-odds of their answers, nats per token |
    | `strength` | optional: λ of the regularizer at the median step; NaN without one |
    """

    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Answers by kind of fact: `method`, `seed`, `stratum`, `use`, `correct`, `n`, and the 95 %
    Wilson interval `low`, `high`. Strata of use `retain`, and of use `test`, are disjoint;
    those of use `forget` contain the same facts with different prompts. Method `original` is the
    model before unlearning."""

    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Metrics: `method`, `seed`, `metric`, `split`, and the fields of a score: `value`, `low`,
    `high`, `n`, `count`, `unit`, `chance`, `direction`, `reason`."""

    recovery: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Recovery by each attack: the columns of `recovery` in `attacks/_recovery.py`, with `method`
    and `run_seed`, the seed of the attacked run; optionally `note`, a caveat."""

    by_learning_rate: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Recovery at each learning rate: the columns of `by_learning_rate` in `attacks/_recovery.py`,
    with `method` and `run_seed`."""

    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Recovery by budget: the columns of `curves` in `attacks/_recovery.py`, with `method` and
    `run_seed`."""

    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Paired tests: `attack`, `variant`, `method`, `other`, `facts`, `runs` (per method),
    `difference` (share of facts recovered from `method` minus from `other`), its interval `low`,
    `high` and `p` (unadjusted), over facts and runs (with one run, over facts alone), `reading` (a
    sentence)."""

    retention: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Paired tests on facts to be kept, by `stratum` and `use`: a positive difference means that
    `method` keeps more of them than `other`."""

    diagnoses: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`method`, `seed`, `verdict`, `why`, `hidden_share` with `low` and `high`, `reading`,
    `d_plus`, `d_minus`; optionally `report`: the path of the run's page, relative to the study's
    page."""

    stability: pd.DataFrame = field(default_factory=pd.DataFrame)
    """How an attack changed the neurons of each run: `method`, `seed`, `attack`, `stopped` (why it
    ended, in a sentence); `pearson` and `spearman`, correlations of the influence of `n_neurons`
    after unlearning and after the attack; `d_plus` and `d_minus`, from before unlearning to after
    the attack, in `unit`."""

    moved: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """The influence of each neuron after unlearning and after the attack, for one run of each
    method: tables for `stability_scatter`."""

    histories: Mapping[tuple[str, int], pd.DataFrame] = field(default_factory=dict)
    """The histories of runs (see `results/history.py`), by method and seed."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Nested plain values: everything that the numbers depend on."""

    reproduce: str = ""
    """The shell command that reproduces the study."""

    warnings: tuple[str, ...] = ()
    """Limitations of the study, one sentence each."""

    def __post_init__(self) -> None:
        if self.runs.empty:
            raise ValueError("Expected a study of at least one run, but `runs` has no rows.")
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
