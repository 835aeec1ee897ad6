"""The data of a study's report: tables and plain values, no models.

A study unlearns one model with several methods and seeds, and scores, attacks and diagnoses every
checkpoint. Facts are the sampling units; seeds repeat a method on the same facts.
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
"""In the column `use` of strata: facts to be forgotten; facts to be kept that unlearning trained
on; held-out facts to be kept."""

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
"""The columns that each table must have."""


@dataclass(frozen=True, eq=False)
class StudyTables:
    """The results of a study. If a table is empty (except `runs`), the report omits its section."""

    question: str
    """The question of the study, in one sentence."""

    runs: pd.DataFrame
    """One row per method and seed.

    | column | what it is |
    |---|---|
    | `method`, `seed` | the method's display name; the seed of the run |
    | `objective`, `regularizer`, `stop` | a name, with or without settings: |
    |  | `ssiuu (relative=1.0)`; `regularizer` is empty if there is none |
    | `stopped` | why the run ended, in a sentence |
    | `steps`, `seconds`, `update_norm` | updates made; their duration; ‖θ − θ0‖ at the end |
    | `asked_forget`, `answered_forget_before`, `answered_forget` | facts to be forgotten: |
    |  | evaluated, answered before, answered after |
    | `log_odds_before`, `log_odds` | mean log-odds of their answers, nats per token |
    | `strength` | optional: λ of the regularizer, at the median step; NaN without one |
    """

    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Answers by kind of fact: `method`, `seed`, `stratum`, `use`, `correct`, `n`, and the 95 %
    Wilson interval `low`, `high`. Strata of one use are disjoint, except for use `forget`, where
    they are the same facts under different prompts. The method `original` is the original model."""

    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Metrics: `method`, `seed`, `metric`, `split`, and the fields of a score: `value`, `low`,
    `high`, `n`, `count`, `unit`, `chance`, `direction`, `reason`."""

    recovery: pd.DataFrame = field(default_factory=pd.DataFrame)
    """How much each attack recovered: the columns of `recovery` in `attacks/_recovery.py`, with
    `method` and `run_seed`, the seed of the attacked run; optionally `note`, a caveat of the attack
    in one sentence, or empty."""

    by_learning_rate: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The same for each learning rate: the columns of `by_learning_rate` there, with `method` and
    `run_seed`."""

    curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The same by budget: the columns of `curves` there, with `method` and `run_seed`."""

    comparisons: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Paired tests with facts as units: `attack`, `variant`, `method`, `other`, `facts`,
    `difference` (share of facts recovered from `method` minus that from `other`; negative: less was
    recovered from `method`), its interval `low`, `high`, `p` (of this test alone), `reading` (a
    sentence)."""

    retention: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The same for the facts to be kept, by `stratum` and `use`; positive: `method` kept more."""

    diagnoses: pd.DataFrame = field(default_factory=pd.DataFrame)
    """`method`, `seed`, `verdict`, `why`, `hidden_share` with `low` and `high`, `reading`,
    `d_plus`, `d_minus`; optionally `report`, the path of the run's page relative to the study's."""

    stability: pd.DataFrame = field(default_factory=pd.DataFrame)
    """How an attack changed the neurons of each run: `method`, `seed`, `attack`, `stopped` (why it
    ended, in a sentence); `pearson` and `spearman`, correlations of the influence of `n_neurons`
    after unlearning and after the attack; `d_plus` and `d_minus`, from before unlearning to after
    the attack, in `unit`."""

    moved: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """The same per neuron for one run of each method: tables for `stability_scatter`."""

    histories: Mapping[tuple[str, int], pd.DataFrame] = field(default_factory=dict)
    """The histories of runs (see `results/history.py`), by method and seed."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything that determined the numbers, as nested plain values."""

    reproduce: str = ""
    """The shell command that repeats the study."""

    warnings: tuple[str, ...] = ()
    """Caveats that must be known to interpret the study, as sentences."""

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
