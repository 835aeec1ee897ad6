"""The table that compares the methods of a study, each with its seeds."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd

from neuronscope.report.cells import NOTHING, Cell, Link, mean_cell, rate_cell
from neuronscope.report.numbers import amount, attack_name, share, spaced
from neuronscope.report.over_seeds import mean_rate, spread
from neuronscope.report.run_pages import links_of, run_pages
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.results.study_tables import BEFORE, FORGOTTEN, HELD_OUT, TRAINED, StudyTables

USES = {TRAINED: "trained", HELD_OUT: "held out", FORGOTTEN: "to be forgotten"}
"""Displayed names of the uses of a fact."""

RUN = ("still answered", "log-odds")
DIAGNOSIS = ("verdict", "hidden share", "D⁺ at 100", "D⁻ at 100")
COST = ("update norm", "seconds")

UTILITY, MODEL_UTILITY = "utility", "model_utility"
"""The split that measures general abilities, and its metric."""

Place = tuple[str, str]
"""A stratum with its use, an attack with its variant, or a metric with its split."""


@dataclass(frozen=True)
class Heading:
    """A common heading of several columns."""

    name: str
    columns: int


@dataclass(frozen=True)
class Block:
    """A row of the table, and the rows that it averages."""

    whole: tuple[Cell, ...]
    parts: tuple[tuple[Cell, ...], ...] = ()
    control: bool = False
    """Whether it is a control, not a method."""


@dataclass(frozen=True)
class FoldedTable:
    """A table that can be sorted by any column and whose rows can be unfolded."""

    groups: tuple[Heading, ...]
    header: tuple[str, ...]
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class _Columns:
    """The columns that only some studies have."""

    kept: list[Place]
    attacks: list[Place]
    useful: list[Place]
    diagnosed: bool


@dataclass(frozen=True, eq=False)
class _Results:
    """The tables of one run, or of several; any may be empty."""

    name: str
    runs: pd.DataFrame
    strata: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    recovery: pd.DataFrame = field(default_factory=pd.DataFrame)
    diagnoses: pd.DataFrame = field(default_factory=pd.DataFrame)
    links: tuple[Link, ...] = ()


def verdict_table(study: StudyTables) -> FoldedTable:
    """The original model, every method with its seeds, and a model that never learned the facts.

    The rows of methods and seeds link to the pages of the runs.

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
        "recovered at most": tuple(attack_name(*attack) for attack in columns.attacks),
        "diagnosis": DIAGNOSIS if columns.diagnosed else (),
        "to be kept, answered": tuple(kept),
        **{_score_name(*score): ("utility",) for score in columns.useful},
        "cost": COST,
    }
    return FoldedTable(
        tuple(Heading(name, len(headed)) for name, headed in groups.items() if headed),
        tuple(column for headed in groups.values() for column in headed),
        tuple(_blocks(study, columns)),
    )


def kept_strata(strata: pd.DataFrame) -> list[Place]:
    """The strata of facts to be kept, in order of appearance."""
    if strata.empty:
        return []
    kept = strata.loc[strata["use"] != FORGOTTEN, ["stratum", "use"]].drop_duplicates()
    return [(str(stratum), str(use)) for stratum, use in kept.itertuples(index=False)]


def attacks_of(recovery: pd.DataFrame) -> list[Place]:
    """The attacks that measure recovery, in order of appearance."""
    if recovery.empty:
        return []
    rest = recovery.loc[recovery["split"] == REST, ["attack", "variant"]].drop_duplicates()
    return [(str(attack), str(variant)) for attack, variant in rest.itertuples(index=False)]


def utilities_of(scores: pd.DataFrame) -> list[Place]:
    """The scores of general abilities: model utility, or else all metrics of that split."""
    if scores.empty:
        return []
    # On the forget set, the same number measures how little was forgotten.
    model = scores.loc[(scores["metric"] == MODEL_UTILITY) & (scores["split"] != FORGOTTEN)]
    found = model if len(model) else scores.loc[scores["split"] == UTILITY]
    places = found[["metric", "split"]].drop_duplicates()
    return [(str(metric), str(split)) for metric, split in places.itertuples(index=False)]


def of_place(table: pd.DataFrame, columns: tuple[str, str], place: Place) -> pd.DataFrame:
    """The rows of one stratum and use, one attack and variant, or one metric and split."""
    if table.empty:
        return table
    first, second = (table[name].astype(str) == at for name, at in zip(columns, place, strict=True))
    return table.loc[first & second]


def _score_name(metric: str, split: str) -> str:
    """The displayed name of a score of general abilities."""
    return spaced(metric) if split == UTILITY else f"{spaced(metric)}, {split}"


def _blocks(study: StudyTables, columns: _Columns) -> Iterator[Block]:
    before = study.runs.assign(
        answered_forget=study.runs["answered_forget_before"],
        log_odds=study.runs["log_odds_before"],
        **dict.fromkeys(("update_norm", "seconds"), float("nan")),
    )
    recovery, pages = study.recovery, run_pages(study)
    models = recovery["model"] if len(recovery) else pd.Series(dtype=str)
    original = _Results(
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
            results = _Results(
                method if seed is None else f"seed {seed}",
                _of(runs, **own),
                _of(study.strata, **own),
                _of(study.scores, **own),
                _of(recovery, **attacked, model=ATTACKED_CHECKPOINT),
                _of(study.diagnoses, **own),
                links_of(pages, method, seed),
            )
            lines.append(_line(results, columns))
        # A single seed would repeat its method's row.
        yield Block(lines[0], tuple(lines[1:]) if len(runs) > 1 else ())
    if (models == NEVER_KNEW).any():
        nothing = before.assign(answered_forget=float("nan"), log_odds=float("nan"))
        never_knew = _Results(
            "never knew",
            nothing,
            scores=_of(study.scores, method=NEVER_KNEW),
            recovery=recovery.loc[models == NEVER_KNEW],
        )
        yield Block(_line(never_knew, columns), control=True)


def _line(results: _Results, columns: _Columns) -> tuple[Cell, ...]:
    """The cells of one run, or of the means over several runs."""
    runs = results.runs
    cells = [Cell(results.name, results.name, links=results.links)]
    cells.append(rate_cell(mean_rate(runs, "answered_forget", "asked_forget")))
    cells.append(mean_cell(runs["log_odds"]))
    for place in columns.attacks:
        here = of_place(results.recovery, ("attack", "variant"), place)
        cells.append(_recovered(_of(here, split=REST)))
    if columns.diagnosed:
        cells += _diagnosis(results.diagnoses)
    for place in columns.kept:
        here = of_place(results.strata, ("stratum", "use"), place)
        cells.append(rate_cell(mean_rate(here)) if len(here) else NOTHING)
    for place in columns.useful:
        here = of_place(results.scores, ("metric", "split"), place)
        cells.append(mean_cell(here["value"]) if len(here) else NOTHING)
    return (*cells, mean_cell(runs["update_norm"]), mean_cell(runs["seconds"]))


def _recovered(rest: pd.DataFrame) -> Cell:
    """The maximum recovery, and how many of the attacked facts were learned."""
    if rest.empty:
        return NOTHING
    trained = mean_rate(rest, "attacked_correct", "attacked_n")
    learned = f"trained: {amount(trained.correct)} of {amount(trained.n)}"
    notes = (learned,) if rest["attacked_n"].notna().any() else ()
    return rate_cell(mean_rate(rest, "maximum_correct"), *notes)


def _diagnosis(diagnoses: pd.DataFrame) -> list[Cell]:
    """The verdicts and attributions of these runs."""
    if diagnoses.empty:
        return [Cell("–", ""), NOTHING, NOTHING, NOTHING]
    words = diagnoses["verdict"].fillna("–").astype(str).value_counts()
    alone = len(diagnoses) == 1
    verdicts = ", ".join(str(w) if alone else f"{w} ({count})" for w, count in words.items())
    first = diagnoses.iloc[0]
    shares = diagnoses["hidden_share"].astype(float)
    low, high = (first["low"], first["high"]) if alone else spread(shares)
    interval = () if pd.isna(low) or pd.isna(high) else (f"[{share(low)}, {share(high)}]",)
    hidden = Cell(share(shares.mean()), float(shares.mean()), interval)
    variations = (mean_cell(diagnoses[sign]) for sign in ("d_plus", "d_minus"))
    return [Cell(verdicts, verdicts), hidden, *variations]


def _of(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows with these values; an empty table may lack the columns."""
    for name, value in wanted.items() if len(table) else ():
        table = table.loc[table[name] == value]
    return table
