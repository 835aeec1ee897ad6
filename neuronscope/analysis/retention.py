"""Which facts are still answered, by their distance from the forgotten ones.

A method that makes a model forget a whole relation removes more than the facts to be forgotten.
Facts to be kept are therefore counted in strata: those that share a relation with a forgotten fact,
those that share its subject, and all others; each separately for the facts that unlearning trained
on (`retain`) and for those that it never saw (`test`). Facts to be forgotten are prompted with the
training prompt and with their paraphrases: a fact that is suppressed for the training prompt only
is not forgotten.
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
    """The stratum of a fact to be kept, by its relation and its subject.

    Whitespace is ignored, case is not.
    """
    if fact.relation is None or fact.subject is None:
        return UNKNOWN
    relations = {_even(one.relation) for one in forgotten if one.relation is not None}
    subjects = {_even(one.subject) for one in forgotten if one.subject is not None}
    if _even(fact.relation) in relations:
        return NEIGHBOURS
    if _even(fact.subject) in subjects:
        return SAME_SUBJECT
    # A forgotten fact whose relation or subject is not given may share that of this fact.
    vague = any(one.relation is None or one.subject is None for one in forgotten)
    return UNKNOWN if vague else ELSE


def prompts_of(facts: FactSet, splits: Sequence[str] = USES) -> list[tuple[str, Fact]]:
    """All facts with their split; facts to be forgotten also with each paraphrase as prompt."""
    prompts = []
    for split in (use for use in USES if use in splits):
        for fact in facts.split(split):
            prompts.append((split, fact))
            if split == "forget":
                others = fact.paraphrases
                prompts += [(split, replace(fact, prompt=prompt)) for prompt in others]
    return prompts


def counted(given: pd.DataFrame) -> pd.DataFrame:
    """Count the answered facts of each stratum and use.

    Args:
        given: The result of `metrics.answers`.

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
    """Compare the answers of two models to the same facts.

    Args:
        first: The result of `metrics.answers` for one model.
        second: The result for the other model.

    Returns:
        Columns `COMPARED`, a row for each stratum and use that has facts.

    Raises:
        ValueError: If the facts differ.
    """
    both = first.merge(second, "outer", list(KEYS), suffixes=("", "_second"), validate="one_to_one")
    if len(both) > len(first) or len(both) > len(second):
        raise ValueError("The two models were evaluated on different facts and cannot be compared.")
    rows = []
    for name, use, here in _groups(both):
        one = here["answered"].to_numpy(dtype=bool)
        other = here["answered_second"].to_numpy(dtype=bool)
        lost, gained = int((one & ~other).sum()), int((other & ~one).sum())
        sums = int(one.sum()), int(other.sum())
        rows.append((name, use, len(here), *sums, lost, gained, mcnemar(one, other)))
    return pd.DataFrame(rows, columns=list(COMPARED))


def depths(given: pd.DataFrame) -> pd.DataFrame:
    """Whether each fact is forgotten for the training prompt only, or for all prompts.

    Args:
        given: The result of `metrics.answers`.

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
    """The rows of each nonempty stratum and use, in their fixed order."""
    for use in USES:
        for name in STRATA:
            here = table.loc[(table["use"] == use) & (table["stratum"] == name)]
            if len(here):
                yield name, use, here


def _even(text: str) -> str:
    return " ".join(text.split())
