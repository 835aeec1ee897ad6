"""What a study says, in plain words that follow from its tables."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neuronscope.report.over_seeds import Rate, added, mean_rate, pooled_recovery
from neuronscope.report.study_differences import adjusted, differing, guided, sparing
from neuronscope.report.study_verdicts import attacks_of, of_place
from neuronscope.report.study_words import (
    FEW,
    amount,
    attack_name,
    called,
    listed,
    rate_text,
    span,
)
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.results.study_tables import BEFORE, HELD_OUT, TRAINED, StudyTables

MOST = 0.5
"""Share of the facts that are still answered, above which a method has not made them forgotten."""

BACK, FAILED, CHANCE = "came back", "the attack failed", "not beyond chance"
THERE = "was not forgotten before the attack"


@dataclass(frozen=True)
class Answer:
    """The plain answer."""

    sentences: tuple[str, ...]
    """A paragraph."""

    attacks: tuple[tuple[str, str], ...]
    """What each attack brought back: its name, and a sentence."""


def answer(study: StudyTables) -> Answer:
    """What became of the forgotten facts, and what differs between methods beyond chance."""
    pooled = pd.DataFrame() if study.recovery.empty else pooled_recovery(study.recovery)
    tested = adjusted(study.comparisons)
    sentences = (
        *_forgetting(study),
        *_returning(pooled),
        *guided(study, tested),
        *differing(tested),
        *_keeping(study),
        *sparing(study),
    )
    of_each = tuple((attack_name(*place), _attack(pooled, place)) for place in attacks_of(pooled))
    return Answer(sentences, of_each)


def outcome(row: dict[Hashable, Any], never_knew: float) -> str:
    """What an attack did to one method.

    Answers came back if the interval of their share lies above the level before the attack and, if
    it was attacked likewise, above what a model reached that never knew. Where most were given
    before the attack, there was little to bring back.

    Args:
        row: Of pooled recovery.
        never_knew: The share that such a model answered at most; NaN without.
    """
    floor = row["before"] if pd.isna(never_knew) else max(row["before"], never_knew)
    if row["maximum_low"] > floor:
        return BACK
    if row["before"] > MOST:
        return THERE
    unlearnt = not pd.isna(row["learnt"]) and not row["learnt"]
    return FAILED if unlearnt else CHANCE


def _forgetting(study: StudyTables) -> Iterator[str]:
    runs = study.runs
    seeds = [int(count) for count in runs.groupby("method")["seed"].nunique()]
    asked, before = (runs[name] for name in ("asked_forget", "answered_forget_before"))
    methods = f"{len(study.methods)} method{'s' if len(study.methods) > 1 else ''}"
    often = f"{span(seeds)} seed{'s' if max(seeds) > 1 else ''}{' each' if len(seeds) > 1 else ''}"
    yield (
        f"{methods} ({often}) had to make a model forget {span(asked.tolist())} facts, of which it "
        f"answered {span(before.tolist())}."
    )
    rates = {
        name: mean_rate(runs.loc[runs["method"] == name], "answered_forget", "asked_forget")
        for name in study.methods
    }
    left = [called(n) for n, rate in rates.items() if rate.correct > MOST * before.mean()]
    yield f"Afterwards {span(runs['answered_forget'].tolist())} were still answered."
    if left:
        yield f"More than half are still answered after {listed(left)}: not forgotten at all."


def _returning(pooled: pd.DataFrame) -> Iterator[str]:
    rest = _rest(pooled)
    if rest.empty:
        yield "Nothing was attacked, so nothing is known of what would come back."
        return
    words: dict[str, list[str]] = {name: [] for name in rest["method"]}
    for place in attacks_of(pooled):
        never_knew = _control(pooled, place, NEVER_KNEW)
        of_attack = of_place(rest, ("attack", "variant"), place)
        for row in of_attack.to_dict("records"):
            floor = float("nan") if never_knew is None else never_knew.share
            words[row["method"]].append(outcome(row, floor))
    total = len(attacks_of(pooled))
    came = {name: had.count(BACK) for name, had in words.items() if BACK in had}
    none = [called(name) for name, had in words.items() if not {BACK, THERE} & set(had)]
    if came and total > 1:
        after = _named([f"{called(name)} ({count} of {total})" for name, count in came.items()])
        yield f"Of {total} attacks, at least one brought answers back after {after}."
    elif came:
        yield f"The attack brought answers back after {_named([called(name) for name in came])}."
    if none:
        which = f"none of {total} attacks" if total > 1 else "the attack"
        verb = "brought back no" if total == 1 else "brought back"
        yield (
            f"After {_named(none)} {which} {verb} more than chance can; that shows "
            "no robustness, for a stronger attack may."
        )


def _named(methods: Sequence[str]) -> str:
    """Methods by name, unless there are many."""
    return listed(methods) if len(methods) <= FEW else f"{len(methods)} methods"


def _attack(pooled: pd.DataFrame, place: tuple[str, str]) -> str:
    """Every method under one attack, by what became of it."""
    controls = {
        name: _control(pooled, place, model)
        for name, model in (("the original", ORIGINAL), ("a model that never knew", NEVER_KNEW))
    }
    never_knew = controls["a model that never knew"]
    groups: dict[str, list[str]] = {BACK: [], CHANCE: [], FAILED: [], THERE: []}
    for row in of_place(_rest(pooled), ("attack", "variant"), place).to_dict("records"):
        word = outcome(row, float("nan") if never_knew is None else never_knew.share)
        text = f"{called(row['method'])} {rate_text(Rate(row['maximum_correct'], row['n']))}"
        if row["before_correct"]:
            text += f", {amount(row['before_correct'])} before"
        if word == FAILED:
            taught = f"{amount(row['attacked_correct'])} of {amount(row['attacked_n'])}"
            text += f", {taught} taught facts learnt"
        groups[word].append(text)
    said = [f"{word}: {'; '.join(texts)}" for word, texts in groups.items() if texts]
    known = [f"{name}: {rate_text(rate)}" for name, rate in controls.items() if rate]
    text = ". ".join(part[0].upper() + part[1:] for part in said) + "."
    if known:
        text += f" Attacked likewise, {'; '.join(known)}."
    if never_knew is None:
        text += " Without a model that never knew, chance and guessing are not told apart."
    return text


def _keeping(study: StudyTables) -> Iterator[str]:
    for use, what in ((HELD_OUT, "never trained on"), (TRAINED, "trained on")):
        strata = study.strata
        rows = strata.loc[strata["use"] == use] if len(strata) else strata
        if rows.empty:
            continue
        rates = {str(name): added(here) for name, here in rows.groupby("method", sort=False)}
        before = rates.pop(BEFORE, None)
        if not rates:
            continue
        first = "" if before is None else f"the original answers {rate_text(before)}; "
        texts = {name: f"{called(name)} {rate_text(rate)}" for name, rate in rates.items()}
        after = "; ".join(texts.values())
        if len(rates) > FEW:
            ordered = sorted(rates, key=lambda name: rates[name].share)
            after = f"from {texts[ordered[0]]} to {texts[ordered[-1]]}"
        yield f"Of the facts to be kept and {what}, {first}{after}."
        return


def _rest(pooled: pd.DataFrame) -> pd.DataFrame:
    """What was not taught, of the models under judgement."""
    if pooled.empty:
        return pooled
    return pooled.loc[(pooled["split"] == REST) & (pooled["model"] == ATTACKED_CHECKPOINT)]


def _control(pooled: pd.DataFrame, place: tuple[str, str], model: str) -> Rate | None:
    """The most that a control answered under an attack; None if it was not attacked."""
    here = of_place(pooled, ("attack", "variant"), place)
    rows = here.loc[(here["split"] == REST) & (here["model"] == model)]
    return mean_rate(rows, "maximum_correct") if len(rows) else None
