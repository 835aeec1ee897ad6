"""How numbers and names of a study are written."""

from collections.abc import Iterable
from math import isnan, nan

import numpy as np
import pandas as pd

from neuronscope.report.over_seeds import Rate, spread
from neuronscope.report.tables import Cell, number

Number = int | float | np.integer
"""What a cell of a table may hold."""

FEW = 4
"""Methods that a sentence names one by one."""

NOTHING = Cell("–", nan)
"""Where there is no number."""


def name_cell(text: str) -> Cell:
    """Text, sorted by itself."""
    return Cell(text, text)


def amount(value: Number) -> str:
    """A count, or a mean of counts with one decimal."""
    return f"{value:,.1f}".removesuffix(".0")


def points(value: Number) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.0f}".replace("-", "−").replace("+0", "0")


def percent(value: Number) -> str:
    """A share in whole percent; a dash where there is no number."""
    return "–" if isnan(value) else f"{100 * value:.0f}\u00a0%".replace("-", "−")


def bounds(low: Number, high: Number) -> str:
    """An interval of a share, in percent."""
    return f"{100 * low:.0f}–{100 * high:.0f}\u00a0%"


def rate_text(rate: Rate) -> str:
    """A count of answers with the Wilson interval of its share."""
    return f"{amount(rate.correct)} of {amount(rate.n)} [{bounds(*rate.interval)}]"


def rate_cell(rate: Rate, *notes: str) -> Cell:
    """The same as a cell, sorted by the share."""
    if isnan(rate.share):
        return NOTHING
    text = f"{amount(rate.correct)} of {amount(rate.n)}"
    return Cell(text, rate.share, (bounds(*rate.interval), *notes))


def value_cell(value: float, ends: tuple[float, float] = (nan, nan)) -> Cell:
    """A number, with two others in brackets below it if they are there."""
    known = not isnan(sum(ends)) and ends[0] < ends[1]
    notes = (f"[{number(ends[0])}, {number(ends[1])}]",) if known else ()
    return Cell(number(value), value, notes)


def mean_cell(values: pd.Series) -> Cell:
    """A mean over seeds; in brackets the lowest and the highest."""
    return value_cell(float(values.astype(float).mean()), spread(values))


def p_text(p: Number) -> str:
    """A p-value, as in `p = 0.03`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def attack_name(attack: object, variant: object) -> str:
    """What a reader calls an attack, with what sets it apart from others of its name."""
    name = str(attack).replace("_", " ")
    return f"{name} ({variant})" if variant else name


def called(method: object) -> str:
    """A method's name in a sentence: in quotation marks if it could be taken for several."""
    name = str(method)
    return f"“{name}”" if "," in name else name


def kind_of(made: object) -> str:
    """What an objective or a regularizer is, of its name with settings: `ssiuu (relative=1.0)`."""
    return "" if made is None or made != made else str(made).split(" (")[0].replace("_", "-")


def listed(names: Iterable[str], word: str = "and") -> str:
    """Names in a sentence: `a, b and c`."""
    *first, last = names
    return f"{', '.join(first)} {word} {last}" if first else last


def span(values: Iterable[Number]) -> str:
    """Counts from the smallest to the largest, as in `3` or `2 to 4`."""
    known = list(values)
    least, most = min(known), max(known)
    return amount(least) if least == most else f"{amount(least)} to {amount(most)}"
