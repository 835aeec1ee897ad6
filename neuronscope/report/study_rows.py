"""The tables of a study's page, except for the comparison of methods."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from neuronscope.report.cells import (
    NOTHING,
    Cell,
    Row,
    Table,
    cell,
    mean_cell,
    name_cell,
    rate_cell,
    value_cell,
)
from neuronscope.report.numbers import attack_name, number, percent_range, points
from neuronscope.report.over_seeds import mean_rate, spread
from neuronscope.report.run_pages import links_of, run_pages
from neuronscope.report.study_differences import adjusted
from neuronscope.report.study_verdicts import USES
from neuronscope.results.study_tables import BEFORE, StudyTables


def strata_table(study: StudyTables) -> Table | None:
    """Answers by kind of fact: one row per stratum and use, one column per method."""
    if study.strata.empty:
        return None
    named = study.strata.assign(use=_uses(study.strata))
    return _side_by_side(named, ("stratum", "use"), study, lambda rows: rate_cell(mean_rate(rows)))


def score_table(study: StudyTables) -> Table | None:
    """Metrics: one row per metric and split, one column per method."""
    if study.scores.empty:
        return None
    keys = ("metric", "split", "unit", "direction")
    return _side_by_side(study.scores.fillna({key: "" for key in keys}), keys, study, _score)


def every_score(study: StudyTables) -> Table | None:
    """Every score of every seed, with its interval, its counts and the reason if it is missing."""
    scores = study.scores
    if scores.empty:
        return None
    header = ("method", "seed", "metric", "split", "value", "95 % interval", "count", "n",
              "chance", "reason")  # fmt: skip
    rows = []
    for row in scores.to_dict("records"):
        low, high = (float(row[end]) for end in ("low", "high"))
        interval = "" if low != low or high != high else f"[{number(low)}, {number(high)}]"
        rows.append(
            (
                *(_name(row[name]) for name in ("method", "seed", "metric", "split")),
                value_cell(float(row["value"])),
                Cell(interval or "–", low),
                _whole(row["count"]),
                _whole(row["n"]),
                NOTHING if pd.isna(row["chance"]) else value_cell(float(row["chance"])),
                _name(row["reason"]),
            )
        )
    return Table(header, tuple(rows), len(rows))


def comparison_table(study: StudyTables) -> Table | None:
    """Paired tests of recovered answers, the most significant first."""
    attacks = [
        attack_name(row["attack"], row["variant"]) for row in study.comparisons.to_dict("records")
    ]
    return _differences(study.comparisons, {"attack": attacks})


def retention_table(study: StudyTables) -> Table | None:
    """Paired tests of kept answers, the most significant first."""
    kept = study.retention
    if kept.empty:
        return None
    return _differences(kept, {"stratum": kept["stratum"].tolist(), "use": _uses(kept)})


def _uses(rows: pd.DataFrame) -> list[str]:
    """The displayed use of each row's facts."""
    return [USES.get(use, use) for use in map(str, rows["use"])]


def _differences(tests: pd.DataFrame, places: Mapping[str, Sequence[str]]) -> Table | None:
    """A table with one row per paired test.

    Args:
        tests: The tests.
        places: Further columns by heading: what each test compares.
    """
    if tests.empty:
        return None
    compared = ("method", "other", "difference", "facts", "runs", "p", "p (Holm)", "in words")
    header = (*places, *compared)
    rows = []
    named = adjusted(tests).assign(**{f"place {name}": of for name, of in places.items()})
    for row in named.sort_values("p", kind="stable").to_dict("records"):
        interval = "" if pd.isna(row["low"]) else f"[{points(row['low'])}, {points(row['high'])}]"
        difference = f"{points(row['difference'])} points"
        rows.append(
            (
                *(name_cell(row[f"place {name}"]) for name in places),
                _name(row["method"]),
                _name(row["other"]),
                Cell(difference, float(row["difference"]), (interval,) if interval else ()),
                _whole(row["facts"]),
                _whole(row["runs"]),
                value_cell(float(row["p"])),
                value_cell(float(row["holm"])),
                _name(row["reading"]),
            )
        )
    return Table(header, tuple(rows), len(rows))


def why_table(study: StudyTables) -> Table | None:
    """The diagnosis of each run with its reasons, and a link to its page.

    Raises:
        ValueError: If the path of a run's own page is absolute.
    """
    if study.diagnoses.empty:
        return None
    rows, pages = [], run_pages(study)
    for row in study.diagnoses.to_dict("records"):
        low, high = float(row["low"]), float(row["high"])
        known = low == low and high == high
        hidden = value_cell(100 * float(row["hidden_share"]))
        method = str(row["method"])
        rows.append(
            (
                Cell(method, method, links=links_of(pages, method, int(row["seed"]))),
                *(_name(row[name]) for name in ("seed", "verdict")),
                Cell(hidden.text, hidden.key, (percent_range(low, high),) if known else ()),
                _name(row["reading"]),
                _name(row["why"]),
            )
        )
    header = ("method", "seed", "verdict", "hidden, %", "attributions suggest", "why")
    return Table(header, tuple(rows), len(rows))


def stability_table(study: StudyTables) -> Table | None:
    """How an attack changed the neurons: one row per method."""
    if study.stability.empty:
        return None
    rows = []
    for method, here in study.stability.groupby("method", sort=False):
        unlearned = study.diagnoses
        if len(unlearned):
            unlearned = unlearned.loc[unlearned["method"] == method]
        cells = [mean_cell(here["pearson"]), mean_cell(here["spearman"])]
        for sign in ("d_plus", "d_minus"):
            cells.append(mean_cell(unlearned[sign]) if len(unlearned) else NOTHING)
            cells.append(mean_cell(here[sign]))
        rows.append((_name(method), *cells))
    header = ("method", "correlation", "of ranks", "D⁺", "D⁺ after the attack", "D⁻",
              "D⁻ after the attack")  # fmt: skip
    return Table(header, tuple(rows), len(rows))


def ending_table(study: StudyTables) -> Table:
    """The settings of each run, and why it ended."""
    columns = ("method", "seed", "objective", "regularizer", "stop", "steps", "stopped")
    rows = tuple(
        tuple(_whole(row[name]) if name == "steps" else _name(row[name]) for name in columns)
        for row in study.runs.to_dict("records")
    )
    return Table((*columns[:-1], "why it ended"), rows, len(rows))


def setting_rows(settings: Mapping[str, Any], above: tuple[str, ...] = ()) -> list[Row]:
    """Nested settings as rows, named by their path."""
    rows = []
    for name, value in settings.items():
        path = (*above, str(name))
        if isinstance(value, Mapping) and value:
            rows += setting_rows(value, path)
        else:
            rows.append(Row(" › ".join(path), (_value(value),)))
    return rows


def _side_by_side(
    table: pd.DataFrame,
    keys: Sequence[str],
    study: StudyTables,
    written: Callable[[pd.DataFrame], Cell],
) -> Table:
    """One row per value of the keys, one column per method, the original model first."""
    known = set(table["method"])
    columns = [name for name in (BEFORE, *study.methods) if name in known]
    rows = []
    for key, here in table.groupby(list(keys), sort=False, dropna=False):
        assert isinstance(key, tuple), "a list of names groups by tuples"
        cells = [
            written(own) if len(own := here.loc[here["method"] == name]) else NOTHING
            for name in columns
        ]
        rows.append((*(name_cell(str(part)) for part in key), *cells))
    return Table((*keys, *columns), tuple(rows), len(rows))


def _score(rows: pd.DataFrame) -> Cell:
    """The mean over seeds with the lowest and the highest; for a single seed, its interval."""
    values = rows["value"].astype(float)
    alone = (float(rows["low"].iloc[0]), float(rows["high"].iloc[0]))
    return value_cell(float(values.mean()), alone if len(rows) == 1 else spread(values))


def _name(value: object) -> Cell:
    """A cell of text, or of a seed, which is a float in tables where some models have none."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return cell(int(str(value).split(".")[0])) if whole else name_cell(_text(value))


def _text(value: object) -> str:
    return "–" if value is None or value == "" or value != value else str(value)


def _whole(value: Any) -> Cell:
    return NOTHING if pd.isna(value) else Cell(f"{value:,.0f}", float(value))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    return "–" if value is None or value == {} else str(value)
