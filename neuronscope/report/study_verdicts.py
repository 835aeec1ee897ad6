"""The verdict table: every method beside the others, and its seeds below it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from neuronscope.report.over_seeds import mean_rate, spread
from neuronscope.report.run_pages import links_of, run_pages
from neuronscope.report.study_words import (
    NOTHING,
    amount,
    attack_name,
    mean_cell,
    rate_cell,
)
from neuronscope.report.tables import Cell, Link, share
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.results.study_tables import BEFORE, FORGOTTEN, HELD_OUT, TRAINED, StudyTables

USES = {TRAINED: "trained", HELD_OUT: "held out", FORGOTTEN: "to be forgotten"}
"""What a reader calls the use of a fact."""

RUN = ("still answered", "log-odds")
INSIDE = ("verdict", "hidden share", "D⁺", "D⁻")
WAY = ("update norm", "seconds")

UTILITY, MODEL_UTILITY = "utility", "model_utility"
"""A split of facts that ask for general abilities, and a metric of them."""

Place = tuple[str, str]
"""A stratum with its use, an attack with its variant, or a metric with its split."""


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


@dataclass(frozen=True)
class _Columns:
    """What the table has columns for, beside those that every study has."""

    kept: list[Place]
    attacks: list[Place]
    useful: list[Place]
    diagnosed: bool


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known of one run, or of several; a table may be empty."""

    name: str
    runs: pd.DataFrame
    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    recovery: pd.DataFrame = field(default_factory=pd.DataFrame)
    diagnoses: pd.DataFrame = field(default_factory=pd.DataFrame)
    links: tuple[Link, ...] = ()


def verdict_table(study: StudyTables) -> FoldedTable:
    """Every method, its seeds, and the two models between which all of them lie.

    A method's line and those of its seeds link to the runs' own pages.

    Raises:
        ValueError: If the path of a run's own page is absolute.
    """
    columns = _Columns(
        kept_strata(study.strata),
        attacks_of(study.recovery),
        utilities_of(study.scores),
        diagnosed=not study.diagnoses.empty,
    )
    kept = (f"{stratum}, {USES.get(use, use)}" for stratum, use in columns.kept)
    groups = {
        "": ("method",),
        "to be forgotten": RUN,
        "brought back at most": tuple(attack_name(*attack) for attack in columns.attacks),
        "inside": INSIDE if columns.diagnosed else (),
        "to be kept, answered": tuple(kept),
        **{_score_name(*score): ("utility",) for score in columns.useful},
        "the way": WAY,
    }
    return FoldedTable(
        tuple(Heading(name, len(headed)) for name, headed in groups.items() if headed),
        tuple(column for headed in groups.values() for column in headed),
        tuple(_blocks(study, columns)),
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


def utilities_of(scores: pd.DataFrame) -> list[Place]:
    """The scores of general ability, as they come: model utility, or else what the split has."""
    if scores.empty:
        return []
    # Of the facts to be forgotten, the same number says how little was forgotten.
    model = scores.loc[(scores["metric"] == MODEL_UTILITY) & (scores["split"] != FORGOTTEN)]
    found = model if len(model) else scores.loc[scores["split"] == UTILITY]
    places = found[["metric", "split"]].drop_duplicates()
    return [(str(metric), str(split)) for metric, split in places.itertuples(index=False)]


def of_place(table: pd.DataFrame, columns: tuple[str, str], place: Place) -> pd.DataFrame:
    """The rows of one stratum and use, of one attack and variant, or of one metric and split."""
    if table.empty:
        return table
    first, second = (table[name].astype(str) == at for name, at in zip(columns, place, strict=True))
    return table.loc[first & second]


def _score_name(metric: str, split: str) -> str:
    """What a reader calls a score of general ability."""
    name = metric.replace("_", " ")
    return name if split == UTILITY else f"{name}, {split}"


def _blocks(study: StudyTables, columns: _Columns) -> Iterator[Block]:
    before = study.runs.assign(
        answered_forget=study.runs["answered_forget_before"],
        log_odds=study.runs["log_odds_before"],
        **dict.fromkeys(("update_norm", "seconds"), float("nan")),
    )
    recovery, pages = study.recovery, run_pages(study)
    models = recovery["model"] if len(recovery) else pd.Series(dtype=str)
    original = _Known(
        "before unlearning",
        before,
        _of(study.strata, method=BEFORE),
        _of(study.scores, method=BEFORE),
        recovery.loc[models == ORIGINAL],
    )
    yield Block(_line(original, columns), control=True)
    for method in study.methods:
        runs = _of(study.runs, method=method)
        lines = []
        for seed in (None, *runs["seed"]):
            own = {"method": method} | ({} if seed is None else {"seed": seed})
            attacked = {"method": method} | ({} if seed is None else {"run_seed": seed})
            known = _Known(
                method if seed is None else f"seed {seed}",
                _of(runs, **own),
                _of(study.strata, **own),
                _of(study.scores, **own),
                _of(recovery, **attacked, model=ATTACKED_CHECKPOINT),
                _of(study.diagnoses, **own),
                links_of(pages, method, seed),
            )
            lines.append(_line(known, columns))
        # A single seed would say the same again.
        yield Block(lines[0], tuple(lines[1:]) if len(runs) > 1 else ())
    if (models == NEVER_KNEW).any():
        nothing = before.assign(answered_forget=float("nan"), log_odds=float("nan"))
        never_knew = _Known(
            "never knew",
            nothing,
            scores=_of(study.scores, method=NEVER_KNEW),
            recovery=recovery.loc[models == NEVER_KNEW],
        )
        yield Block(_line(never_knew, columns), control=True)


def _line(known: _Known, columns: _Columns) -> tuple[Cell, ...]:
    """The cells of one run, or of several on average."""
    runs = known.runs
    cells = [Cell(known.name, known.name, links=known.links)]
    cells.append(rate_cell(mean_rate(runs, "answered_forget", "asked_forget")))
    cells.append(mean_cell(runs["log_odds"]))
    for place in columns.attacks:
        here = of_place(known.recovery, ("attack", "variant"), place)
        cells.append(_most(_of(here, split=REST)))
    if columns.diagnosed:
        cells += _inside(known.diagnoses)
    for place in columns.kept:
        here = of_place(known.strata, ("stratum", "use"), place)
        cells.append(rate_cell(mean_rate(here)) if len(here) else NOTHING)
    for place in columns.useful:
        here = of_place(known.scores, ("metric", "split"), place)
        cells.append(mean_cell(here["value"]) if len(here) else NOTHING)
    return (*cells, mean_cell(runs["update_norm"]), mean_cell(runs["seconds"]))


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
    variations = (mean_cell(diagnoses[sign]) for sign in ("d_plus", "d_minus"))
    return [Cell(said, said), hidden, *variations]


def _of(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows with these values; an empty table has no columns to ask."""
    for name, value in wanted.items() if len(table) else ():
        table = table.loc[table[name] == value]
    return table
