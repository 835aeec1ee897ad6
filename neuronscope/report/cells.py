"""The parts of the pages' tables: cells, rows and tables that can be sorted."""

from dataclasses import dataclass
from math import isnan, nan

import pandas as pd

from neuronscope.report.numbers import amount, number, percent_range
from neuronscope.report.over_seeds import Rate, spread


@dataclass(frozen=True)
class Row:
    """A named line of text cells."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Link:
    """A link in a cell."""

    text: str
    address: str


@dataclass(frozen=True)
class Cell:
    """The content of a cell, and the key that sorts its column."""

    text: str
    key: int | float | str

    notes: tuple[str, ...] = ()
    """Small lines below the text."""

    links: tuple[Link, ...] = ()
    """Links below the notes."""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by any column."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int
    """Number of rows before the table was cut."""


NOTHING = Cell("–", nan)
"""The cell for a missing number."""


def cell(value: str | bool | int | float) -> Cell:
    """A value as a cell; integers are indices, and −1 means none."""
    if isinstance(value, str):
        return Cell(value, value)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", int(value))
    if isinstance(value, int):
        return Cell("–" if value < 0 else str(value), value)
    return Cell(number(value), value)


def sortable(table: pd.DataFrame, header: tuple[str, ...], total: int) -> Table:
    """All rows of `table` as cells."""
    rows = tuple(tuple(map(cell, row)) for row in table.itertuples(index=False, name=None))
    return Table(header, rows, total)


def name_cell(text: str) -> Cell:
    """Text, sorted alphabetically."""
    return Cell(text, text)


def rate_cell(rate: Rate, *notes: str) -> Cell:
    """A count of answers with the Wilson interval of its share, sorted by the share."""
    if isnan(rate.share):
        return NOTHING
    text = f"{amount(rate.correct)} of {amount(rate.n)}"
    return Cell(text, rate.share, (percent_range(*rate.interval), *notes))


def value_cell(value: float, ends: tuple[float, float] = (nan, nan)) -> Cell:
    """A number, with an interval in brackets below it if there is one."""
    known = not isnan(sum(ends)) and ends[0] < ends[1]
    notes = (f"[{number(ends[0])}, {number(ends[1])}]",) if known else ()
    return Cell(number(value), value, notes)


def mean_cell(values: pd.Series) -> Cell:
    """A mean over seeds, with the lowest and the highest seed in brackets."""
    return value_cell(float(values.astype(float).mean()), spread(values))
