"""The results that answer a study's question; `templates/study_answer.j2` puts them into words."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from neuronscope.report.numbers import Number, attack_name
from neuronscope.report.over_seeds import Rate, added, mean_rate, pooled_recovery
from neuronscope.report.study_differences import (
    Differences,
    Guided,
    adjusted,
    differing,
    guided,
    sparing,
)
from neuronscope.report.study_verdicts import attacks_of, of_place
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.results.study_tables import BEFORE, HELD_OUT, TRAINED, StudyTables

MOST = 0.5
"""A method has not made a model forget if it still answers more than this share of the facts."""

Outcome = Literal["recovered", "within chance", "attack failed", "not forgotten"]
"""The outcome of an attack on one method."""


@dataclass(frozen=True)
class Attacked:
    """One method under one attack."""

    method: str
    recovered: Rate
    before: float
    """Facts answered before the attack."""

    trained: Rate
    """Facts that the attack trains on."""


@dataclass(frozen=True)
class AttackResult:
    """All methods under one attack."""

    name: str
    methods: dict[Outcome, list[Attacked]]
    original: Rate | None
    never_knew: Rate | None


@dataclass(frozen=True)
class Kept:
    """Answers to the facts to be kept."""

    held_out: bool
    """Whether these facts were held out of unlearning."""

    original: Rate | None
    methods: dict[str, Rate]

    @property
    def extremes(self) -> tuple[str, str]:
        """The methods that kept least and most."""
        ordered = sorted(self.methods, key=lambda name: self.methods[name].share)
        return ordered[0], ordered[-1]


@dataclass(frozen=True)
class Answer:
    """The results that answer a study's question."""

    seeds: tuple[int, ...]
    """Number of seeds of each method."""

    facts: tuple[Number, ...]
    known: tuple[Number, ...]
    left: tuple[Number, ...]
    """For each run: the facts to forget, and those answered before and after unlearning."""

    not_forgotten: tuple[str, ...]
    """Methods after which most facts are still answered."""

    attacked: bool
    recovered: dict[str, int]
    """Methods after which attacks recovered answers, and the number of these attacks."""

    not_recovered: tuple[str, ...]
    """Methods after which no attack recovered more than chance explains."""

    attacks: tuple[AttackResult, ...]
    kept: Kept | None
    guided: tuple[Guided, ...]
    differences: Differences
    spared: Differences


def answer(study: StudyTables) -> Answer:
    """How much was forgotten, recovered and kept, and which differences are significant."""
    runs = study.runs
    pooled = pd.DataFrame() if study.recovery.empty else pooled_recovery(study.recovery)
    attacks = tuple(_attack(pooled, place) for place in attacks_of(pooled))
    by_method: dict[str, list[Outcome]] = {}
    for attack in attacks:
        for outcome, methods in attack.methods.items():
            for one in methods:
                by_method.setdefault(one.method, []).append(outcome)
    tested = adjusted(study.comparisons)
    most = MOST * runs["answered_forget_before"].mean()
    answered = runs.groupby("method", sort=False)["answered_forget"].mean()
    return Answer(
        seeds=tuple(runs.groupby("method")["seed"].nunique()),
        facts=tuple(runs["asked_forget"]),
        known=tuple(runs["answered_forget_before"]),
        left=tuple(runs["answered_forget"]),
        not_forgotten=tuple(str(name) for name, mean in answered.items() if mean > most),
        attacked=bool(by_method),
        recovered={
            name: own.count("recovered") for name, own in by_method.items() if "recovered" in own
        },
        not_recovered=tuple(
            name for name, own in by_method.items() if not {"recovered", "not forgotten"} & {*own}
        ),
        attacks=attacks,
        kept=_kept(study),
        guided=tuple(guided(study, tested)),
        differences=differing(tested),
        spared=sparing(study),
    )


def outcome(row: dict[Hashable, Any], never_knew: float) -> Outcome:
    """The outcome of an attack on one method.

    Answers were recovered if the interval of their share lies above the level before the attack
    and, if a model that never learned the facts was attacked in the same way, above its maximum. If
    most were answered before the attack, there was little to recover.

    Args:
        row: A row of pooled recovery.
        never_knew: The largest share that such a model answered; NaN without one.
    """
    floor = row["before"] if pd.isna(never_knew) else max(row["before"], never_knew)
    if row["maximum_low"] > floor:
        return "recovered"
    if row["before"] > MOST:
        return "not forgotten"
    failed = not pd.isna(row["learnt"]) and not row["learnt"]
    return "attack failed" if failed else "within chance"


def _attack(pooled: pd.DataFrame, place: tuple[str, str]) -> AttackResult:
    here = of_place(pooled, ("attack", "variant"), place)
    here = here.loc[here["split"] == REST]
    rates = {
        model: mean_rate(rows, "maximum_correct") if len(rows) else None
        for model in (ORIGINAL, NEVER_KNEW)
        for rows in (here.loc[here["model"] == model],)
    }
    never_knew = rates[NEVER_KNEW]
    methods: dict[Outcome, list[Attacked]] = {
        "recovered": [],
        "within chance": [],
        "attack failed": [],
        "not forgotten": [],
    }
    for row in here.loc[here["model"] == ATTACKED_CHECKPOINT].to_dict("records"):
        found = outcome(row, float("nan") if never_knew is None else never_knew.share)
        methods[found].append(
            Attacked(
                str(row["method"]),
                Rate(row["maximum_correct"], row["n"]),
                row["before_correct"],
                Rate(row["attacked_correct"], row["attacked_n"]),
            )
        )
    return AttackResult(attack_name(*place), methods, rates[ORIGINAL], never_knew)


def _kept(study: StudyTables) -> Kept | None:
    """Answers to the held-out facts to be kept; if there are none, to those trained on."""
    strata = study.strata
    for use in (HELD_OUT, TRAINED):
        rows = strata.loc[strata["use"] == use] if len(strata) else strata
        if rows.empty:
            continue
        rates = {str(name): added(here) for name, here in rows.groupby("method", sort=False)}
        before = rates.pop(BEFORE, None)
        if rates:
            return Kept(use == HELD_OUT, before, rates)
    return None
