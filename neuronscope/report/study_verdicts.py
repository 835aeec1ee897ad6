"""The verdict table: every method beside the others, and its seeds below it."""

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from neuronscope.plots._attacked import CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.report.over_seeds import mean_rate, spread
from neuronscope.report.study_words import (
    NOTHING,
    amount,
    attack_name,
    name_cell,
    rate_cell,
    value_cell,
)
from neuronscope.report.tables import Cell, share
from neuronscope.study_tables import BEFORE, FORGOTTEN, HELD_OUT, TRAINED, StudyTables

USES = {TRAINED: "trained", HELD_OUT: "held out", FORGOTTEN: "to be forgotten"}
"""What a reader calls the use of a fact."""

RUN = ("still answered", "log-odds")
INSIDE = ("verdict", "hidden share", "D⁺", "D⁻")
WAY = ("update norm", "seconds")

Place = tuple[str, str]
"""A stratum with its use, or an attack with its variant."""


@dataclass(frozen=True)
class Heading:
    """What some columns have in common."""

    name: str
    columns: int


@dataclass(frozen=True)
class Block:
    """A line of the table, and the lines that it is the mean of."""

    whole: tuple[Cell, ...]
    parts: tuple[tuple[Cell, ...], ...] = ()
    control: bool = False
    """Whether it is what methods are held against."""


@dataclass(frozen=True)
class FoldedTable:
    """A table that can be sorted by any column, and whose lines can be unfolded."""

    groups: tuple[Heading, ...]
    header: tuple[str, ...]
    blocks: tuple[Block, ...]


def verdict_table(study: StudyTables) -> FoldedTable:
    """Every method, its seeds, and the two models between which all of them lie."""
    kept, attacks = kept_strata(study.strata), attacks_of(study.recovery)
    groups = {
        "": ("method",),
        "to be forgotten": RUN,
        "brought back at most": tuple(attack_name(*attack) for attack in attacks),
        "inside": () if study.diagnoses.empty else INSIDE,
        "to be kept, answered": tuple(f"{stratum}, {USES.get(use, use)}" for stratum, use in kept),
        "the way": WAY,
    }
    return FoldedTable(
        tuple(Heading(name, len(columns)) for name, columns in groups.items() if columns),
        tuple(column for columns in groups.values() for column in columns),
        tuple(_blocks(study, kept, attacks)),
    )


def kept_strata(strata: pd.DataFrame) -> list[Place]:
    """The strata of facts to be kept, as they come."""
    if strata.empty:
        return []
    kept = strata.loc[strata["use"] != FORGOTTEN, ["stratum", "use"]].drop_duplicates()
    return [(str(stratum), str(use)) for stratum, use in kept.itertuples(index=False)]


def attacks_of(recovery: pd.DataFrame) -> list[Place]:
    """The attacks that tell how much came back, as they come."""
    if recovery.empty:
        return []
    rest = recovery.loc[recovery["split"] == REST, ["attack", "variant"]].drop_duplicates()
    return [(str(attack), str(variant)) for attack, variant in rest.itertuples(index=False)]


def of_place(table: pd.DataFrame, columns: tuple[str, str], place: Place) -> pd.DataFrame:
    """The rows of one stratum and use, or of one attack and variant."""
    first, second = (table[name].astype(str) == at for name, at in zip(columns, place, strict=True))
    return table.loc[first & second]


def _blocks(study: StudyTables, kept: list[Place], attacks: list[Place]) -> Iterator[Block]:
    before = study.runs.assign(
        answered_forget=study.runs["answered_forget_before"],
        log_odds=study.runs["log_odds_before"],
        **dict.fromkeys(("update_norm", "seconds"), float("nan")),
    )
    recovery = study.recovery
    models = recovery["model"] if len(recovery) else pd.Series(dtype=str)
    yield Block(
        _line(
            "before unlearning",
            before,
            _of(study.strata, method=BEFORE),
            recovery.loc[models == ORIGINAL],
            pd.DataFrame(),
            (study, kept, attacks),
        ),
        control=True,
    )
    for method in study.methods:
        runs = _of(study.runs, method=method)
        lines = []
        for seed in (None, *runs["seed"]):
            own = {"method": method} | ({} if seed is None else {"seed": seed})
            attacked = {"method": method} | ({} if seed is None else {"run_seed": seed})
            lines.append(
                _line(
                    method if seed is None else f"seed {seed}",
                    _of(runs, **own),
                    _of(study.strata, **own),
                    _of(recovery, **attacked, model=CHECKPOINT),
                    _of(study.diagnoses, **own),
                    (study, kept, attacks),
                )
            )
        # A single seed would say the same again.
        yield Block(lines[0], tuple(lines[1:]) if len(runs) > 1 else ())
    if (models == NEVER_KNEW).any():
        nothing = before.assign(answered_forget=float("nan"), log_odds=float("nan"))
        found = recovery.loc[models == NEVER_KNEW]
        line = _line("never knew", nothing, pd.DataFrame(), found, pd.DataFrame(),
                     (study, kept, attacks))  # fmt: skip
        yield Block(line, control=True)


def _line(
    name: str,
    runs: pd.DataFrame,
    strata: pd.DataFrame,
    recovery: pd.DataFrame,
    diagnoses: pd.DataFrame,
    columns: tuple[StudyTables, list[Place], list[Place]],
) -> tuple[Cell, ...]:
    """The cells of one run, or of several on average."""
    study, kept, attacks = columns
    cells = [name_cell(name), rate_cell(mean_rate(runs, "answered_forget", "asked_forget"))]
    cells.append(_mean(runs["log_odds"]))
    for place in attacks:
        here = of_place(recovery, ("attack", "variant"), place) if len(recovery) else recovery
        cells.append(_most(here.loc[here["split"] == REST]) if len(here) else NOTHING)
    if not study.diagnoses.empty:
        cells += _inside(diagnoses)
    for place in kept:
        here = of_place(strata, ("stratum", "use"), place) if len(strata) else strata
        cells.append(rate_cell(mean_rate(here)) if len(here) else NOTHING)
    return (*cells, _mean(runs["update_norm"]), _mean(runs["seconds"]))


def _most(rest: pd.DataFrame) -> Cell:
    """The most that came back, and whether the attack learnt what it taught."""
    if rest.empty:
        return NOTHING
    taught = mean_rate(rest, "attacked_correct", "attacked_n")
    learnt = f"taught: {amount(taught.correct)} of {amount(taught.n)}"
    notes = (learnt,) if rest["attacked_n"].notna().any() else ()
    return rate_cell(mean_rate(rest, "maximum_correct"), *notes)


def _inside(diagnoses: pd.DataFrame) -> list[Cell]:
    """What the diagnoses say of these runs."""
    if diagnoses.empty:
        return [Cell("–", ""), NOTHING, NOTHING, NOTHING]
    words = diagnoses["verdict"].fillna("–").astype(str).value_counts()
    alone = len(diagnoses) == 1
    said = ", ".join(str(w) if alone else f"{w} ({count})" for w, count in words.items())
    first = diagnoses.iloc[0]
    shares = diagnoses["hidden_share"].astype(float)
    low, high = (first["low"], first["high"]) if alone else spread(shares)
    interval = () if pd.isna(low) or pd.isna(high) else (f"[{share(low)}, {share(high)}]",)
    hidden = Cell(share(shares.mean()), float(shares.mean()), interval)
    return [Cell(said, said), hidden, _mean(diagnoses["d_plus"]), _mean(diagnoses["d_minus"])]


def _mean(values: pd.Series) -> Cell:
    """A mean over seeds; in brackets the lowest and the highest."""
    return value_cell(float(values.astype(float).mean()), spread(values))


def _of(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows with these values; an empty table has no columns to ask."""
    for name, value in wanted.items() if len(table) else ():
        table = table.loc[table[name] == value]
    return table
