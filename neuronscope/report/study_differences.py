"""What a study's paired tests say, in plain words: which differences are beyond chance."""

from collections.abc import Hashable, Iterator
from typing import Any

import pandas as pd

from neuronscope.analysis.statistics import holm
from neuronscope.report.study_words import (
    FEW,
    amount,
    attack_name,
    called,
    kind_of,
    listed,
    p_text,
    points,
)
from neuronscope.results.study_tables import StudyTables

SSIUU = "ssiuu"
"""Begins the names of the regularizers that guide unlearning by attribution."""

ALPHA = 0.05
"""Chance of any false finding among all comparisons of one kind: of what came back, or was kept."""


def adjusted(comparisons: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with `holm`, their p-values adjusted for there being several."""
    if comparisons.empty:
        return comparisons
    return comparisons.assign(holm=holm(comparisons["p"].to_numpy(dtype=float)))


def guided(study: StudyTables, tested: pd.DataFrame) -> Iterator[str]:
    """Whether guidance by attribution did better than what it is held against."""
    made = {
        str(row["method"]): (kind_of(row["objective"]), kind_of(row["regularizer"]))
        for row in study.runs.to_dict("records")
    }
    for name, (objective, regularizer) in made.items():
        if not regularizer.startswith(SSIUU):
            continue
        controls = [c for c, (o, r) in made.items() if o == objective and not r.startswith(SSIUU)]
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


def differing(tested: pd.DataFrame) -> Iterator[str]:
    """Whether more came back from some methods than from others beyond chance."""
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


def sparing(study: StudyTables) -> Iterator[str]:
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
