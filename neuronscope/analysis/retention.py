"""What is still answered, near the forgotten facts and far from them.

A method that forgets a whole relation has not forgotten sixteen facts. So facts to be kept are
counted apart: those that share a relation with a forgotten one, those that share its subject, and
the others; and each of these by split, those that unlearning was given (`retain`) and those that it
never saw (`test`). Facts to be forgotten are asked under the prompt that unlearning was given and
under their paraphrases: what is silent under that prompt alone is not forgotten.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pandas as pd

from neuronscope.analysis.statistics import mcnemar, wilson_interval
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.results.retention_table import (
    ANY,
    COMPARED,
    COUNTED,
    DEPTHS,
    ELSE,
    EVERYWHERE,
    KEYS,
    NEIGHBOURS,
    NOT_FORGOTTEN,
    SAME_SUBJECT,
    STRATA,
    THERE_ONLY,
    TRAINED,
    UNKNOWN,
    UNTRIED,
    USES,
)


def stratum(fact: Fact, forgotten: Sequence[Fact]) -> str:
    """Where a fact to be kept stands to the forgotten ones, by its relation and its subject.

    Whitespace does not matter, case does.
    """
    if fact.relation is None or fact.subject is None:
        return UNKNOWN
    relations = {_even(one.relation) for one in forgotten if one.relation is not None}
    subjects = {_even(one.subject) for one in forgotten if one.subject is not None}
    if _even(fact.relation) in relations:
        return NEIGHBOURS
    if _even(fact.subject) in subjects:
        return SAME_SUBJECT
    # It may be near a forgotten fact of which too little is said.
    vague = any(one.relation is None or one.subject is None for one in forgotten)
    return UNKNOWN if vague else ELSE


def prompts_of(facts: FactSet, splits: Sequence[str] = USES) -> list[tuple[str, Fact]]:
    """What is asked: each fact with its split, and those to be forgotten once more a paraphrase."""
    asked = []
    for split in (use for use in USES if use in splits):
        for fact in facts.split(split):
            asked.append((split, fact))
            if split == "forget":
                others = fact.paraphrases
                asked += [(split, replace(fact, prompt=prompt)) for prompt in others]
    return asked


def counted(given: pd.DataFrame) -> pd.DataFrame:
    """How many facts of each stratum and use are answered.

    Args:
        given: Of `metrics.answers`.

    Returns:
        Columns `COUNTED`, a row for each stratum and use that has facts.
    """
    rows = []
    for name, use, here in _groups(given):
        correct, n = int(here["answered"].sum()), len(here)
        low, high = wilson_interval(correct, n)
        rows.append((name, use, correct, n, low, high))
    return pd.DataFrame(rows, columns=list(COUNTED))


def compared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """How the answers of two models to the same facts differ.

    Args:
        first: Of `metrics.answers`.
        second: Of `metrics.answers`, of the other model.

    Returns:
        Columns `COMPARED`, a row for each stratum and use that has facts.

    Raises:
        ValueError: If they were not asked the same facts.
    """
    both = first.merge(second, "outer", list(KEYS), suffixes=("", "_second"), validate="one_to_one")
    if len(both) > len(first) or len(both) > len(second):
        raise ValueError("The two models were not asked the same facts: they cannot be compared.")
    rows = []
    for name, use, here in _groups(both):
        one = here["answered"].to_numpy(dtype=bool)
        other = here["answered_second"].to_numpy(dtype=bool)
        lost, gained = int((one & ~other).sum()), int((other & ~one).sum())
        sums = int(one.sum()), int(other.sum())
        rows.append((name, use, len(here), *sums, lost, gained, mcnemar(one, other)))
    return pd.DataFrame(rows, columns=list(COMPARED))


def depths(given: pd.DataFrame) -> pd.DataFrame:
    """How deeply each fact is forgotten: under the prompt that unlearning was given, or under all.

    Args:
        given: Of `metrics.answers`.

    Returns:
        Columns `DEPTHS`, a row for each fact to be forgotten.
    """
    forget = given.loc[given["use"] == "forget"]
    known = {
        name: dict(zip(here["fact"], here["answered"], strict=True))
        for name, here in forget.groupby("stratum")
    }
    rows = []
    for fact, answered in known.get(TRAINED, {}).items():
        if answered:
            rows.append((fact, NOT_FORGOTTEN))
        elif fact not in known.get(ANY, {}):
            rows.append((fact, UNTRIED))
        else:
            rows.append((fact, THERE_ONLY if known[ANY][fact] else EVERYWHERE))
    return pd.DataFrame(rows, columns=list(DEPTHS))


def _groups(table: pd.DataFrame) -> Iterable[tuple[str, str, pd.DataFrame]]:
    """The rows of each stratum and use that has some, in their order."""
    for use in USES:
        for name in STRATA:
            here = table.loc[(table["use"] == use) & (table["stratum"] == name)]
            if len(here):
                yield name, use, here


def _even(text: str) -> str:
    return " ".join(text.split())
