"""What a study says, in plain words that follow from its tables."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from neuronscope.analysis.statistics import holm
from neuronscope.plots._attacked import CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.report.over_seeds import Rate, added, mean_rate, pooled_recovery
from neuronscope.report.study_verdicts import attacks_of, of_place
from neuronscope.report.study_words import (
    amount,
    attack_name,
    called,
    kind_of,
    listed,
    p_text,
    points,
    rate_text,
    span,
)
from neuronscope.study_tables import BEFORE, HELD_OUT, TRAINED, StudyTables

SSIUU = "ssiuu"
"""The regularizer that guides unlearning by attribution."""

ALPHA = 0.05
"""Chance of any false finding among all comparisons of one kind: of what came back, or was kept."""

MOST = 0.5
"""Share of the facts that are still answered, above which a method has not made them forgotten."""

FEW = 4
"""Methods that a sentence names one by one."""

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
        *_guided(study, tested),
        *_differing(tested),
        *_keeping(study),
        *_sparing(study),
    )
    of_each = tuple((attack_name(*place), _attack(pooled, place)) for place in attacks_of(pooled))
    return Answer(sentences, of_each)


def adjusted(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with `holm`, their p-values adjusted for there being several."""
    if comparisons.empty:
        return comparisons
    return comparisons.assign(holm=holm(comparisons["p"].to_numpy(dtype=float)))


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


def _sparing(study: StudyTables) -> Iterator[str]:
    """Whether methods kept more than others beyond chance."""
    tested = adjusted(study.retention)
    if tested.empty:
        return
    found = tested.loc[tested["holm"] < ALPHA]
    more = found["method"].where(found["difference"] > 0, found["other"])
    counts = more.value_counts(sort=False)
    who = [f"{called(name)} kept more in {count}" for name, count in counts.items()]
    many = f"{len(tested)} paired test{'s' if len(tested) > 1 else ''}"
    yield (
        f"Of {many} of what was kept, stratum by stratum, {len(found) or 'none'} "
        f"{'are' if len(found) > 1 else 'is'} beyond chance (Holm's correction for these, at "
        f"5\u00a0%){f': {listed(who)}' if who else ''}."
    )


def _differing(tested: pd.DataFrame) -> Iterator[str]:
    if tested.empty:
        yield "No methods were compared, so no difference between them can be claimed."
        return
    found = tested.loc[tested["holm"] < ALPHA]
    family = "Holm's correction for all of them, at 5\u00a0%"
    many = f"{len(tested)} comparison{'s' if len(tested) > 1 else ''} between methods"
    if found.empty:
        yield f"Of {many}, none is beyond chance ({family})."
        return
    yield (
        f"Of {many}, {len(found)} {'is' if len(found) == 1 else 'are'} beyond chance ({family}): "
        f"{'; '.join(_difference(row) for row in found.to_dict('records'))}."
    )


def _difference(row: dict[Hashable, Any]) -> str:
    which = "less" if row["difference"] < 0 else "more"
    interval = f"[{points(row['low'])}, {points(row['high'])}]"
    attack = attack_name(row["attack"], row["variant"])
    return (
        f"under {attack}, {which} came back from {called(row['method'])} "
        f"than from {called(row['other'])} ({points(row['difference'])} points {interval}, "
        f"{amount(row['facts'])} facts, {p_text(row['holm'])})"
    )


def _guided(study: StudyTables, tested: pd.DataFrame) -> Iterator[str]:
    """Whether guidance by attribution did better than what it is held against."""
    made = {
        str(row["method"]): (kind_of(row["objective"]), kind_of(row["regularizer"]))
        for row in study.runs.to_dict("records")
    }
    for name, (objective, regularizer) in made.items():
        if regularizer != SSIUU:
            continue
        controls = [c for c, (o, r) in made.items() if o == objective and r != SSIUU]
        faced = _against(tested, name, controls)
        this = called(name) if SSIUU in name.lower() else f"{called(name)} (SSIUU)"
        alone, many = len(faced) == 1, f"{len(faced)} comparisons"
        if faced.empty:
            yield f"{this} was compared with no control: nothing can be claimed for it."
            continue
        names = [called(control) for control in dict.fromkeys(faced["control"])]
        named = listed(names, "or") if len(names) < FEW else f"any of {len(names)} controls"
        sure = faced.loc[faced["holm"] < ALPHA]
        better, worse = int((sure["gain"] > 0).sum()), int((sure["gain"] < 0).sum())
        beaten = list(dict.fromkeys(sure.loc[sure["gain"] > 0, "control"]))
        if not beaten:
            yield (
                f"{this} does not beat its control: it is not beyond chance that less came back "
                f"from it than from {named}."
                if alone
                else f"{this} does not beat its controls: in none of {many} did less come back "
                f"from it than from {named} beyond chance."
            )
        else:
            yield (
                f"{this} beats its {'control' if alone else f'controls in {better} of {many}'}: "
                f"less came back from it than from {listed(map(called, beaten))}."
            )
            rest = [control for control in dict.fromkeys(faced["control"]) if control not in beaten]
            if rest:
                yield f"It is not shown to be better than {listed(map(called, rest), 'or')}."
        if worse:
            yield f"In {worse} of them more came back from {called(name)} beyond chance."


def _against(tested: pd.DataFrame, name: str, controls: list[str]) -> pd.DataFrame:
    """Comparisons of a method with its controls: `control`, `gain` (less came back), `holm`."""
    parts = []
    for own, other, sign in (("method", "other", -1), ("other", "method", 1)):
        if len(tested):
            rows = tested.loc[(tested[own] == name) & tested[other].isin(controls)]
            parts.append(rows.assign(control=rows[other], gain=sign * rows["difference"]))
    return pd.concat(parts) if parts else pd.DataFrame()


def _rest(pooled: pd.DataFrame) -> pd.DataFrame:
    """What was not taught, of the models under judgement."""
    if pooled.empty:
        return pooled
    return pooled.loc[(pooled["split"] == REST) & (pooled["model"] == CHECKPOINT)]


def _control(pooled: pd.DataFrame, place: tuple[str, str], model: str) -> Rate | None:
    """The most that a control answered under an attack; None if it was not attacked."""
    here = of_place(pooled, ("attack", "variant"), place)
    rows = here.loc[(here["split"] == REST) & (here["model"] == model)]
    return mean_rate(rows, "maximum_correct") if len(rows) else None
