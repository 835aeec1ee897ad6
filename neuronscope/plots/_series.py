"""How methods and controls side by side are drawn: colours, marks, bands and whiskers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from neuronscope.plots._look import ELSEWHERE, INK, SERIES, SYMBOLS
from neuronscope.plots._names import as_text
from neuronscope.results.attack_table import NEVER_KNEW, ORIGINAL

CONTROLS = {ORIGINAL: (INK, "cross"), NEVER_KNEW: (ELSEWHERE, "x")}
"""Colour and mark of the controls that every figure may hold."""

BAND, FAINTEST = 0.13, 0.05
"""Opacity of an interval that stands alone, and at least."""


@dataclass(frozen=True)
class Series:
    """How a method or a control is called and drawn."""

    name: str
    """Safe to be shown: no markup."""

    colour: str
    symbol: str
    control: bool = False

    @property
    def width(self) -> float:
        """Of its line: what is judged stands out from what it is held against."""
        return 1.8 if self.control else 2.5


def series_of_methods(names: Iterable[str]) -> dict[str, Series]:
    """The look of every method, in their order."""
    return {
        name: Series(as_text(name), SERIES[place % len(SERIES)], SYMBOLS[place % len(SYMBOLS)])
        for place, name in enumerate(dict.fromkeys(names))
    }


def series_of(lines: pd.DataFrame) -> dict[str, Series]:
    """The look of every line of a table, methods first.

    A control that was attacked with one method's facts has that method's colour.

    Args:
        lines: With `line`, `control`, `model` and maybe `method`.
    """
    judged, controls = lines.loc[~lines["control"], :], lines.loc[lines["control"], :]
    others = controls.loc[~controls["model"].isin(list(CONTROLS)), "line"]
    free = series_of_methods([*judged["line"], *others])
    found = {line: free[line] for line in dict.fromkeys(judged["line"])}
    for line, rows in controls.groupby("line", sort=False):
        name, model = str(line), str(rows["model"].iloc[0])
        if model in CONTROLS:
            colour, symbol = CONTROLS[model]
        else:
            colour, symbol = free[name].colour, free[name].symbol
        method = rows.iloc[0].get("method")
        if method in found:
            colour = found[method].colour
        found[name] = Series(as_text(name), colour, symbol, control=True)
    return found


def band(
    x: Float[np.ndarray, " point"],
    low: pd.Series,
    high: pd.Series,
    series: Series,
    beside: int,
) -> go.Scatter:
    """An interval along the line that it belongs to.

    Args:
        beside: How many intervals there are: the more, the fainter, for they cover each other.
    """
    return go.Scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        mode="lines",
        fill="toself",
        fillcolor=series.colour,
        opacity=max(FAINTEST, 2 * BAND / (1 + beside)),
        line_width=0,
        name=f"{series.name}, 95 % interval",
        legendgroup=series.name,
        showlegend=False,
        hoverinfo="skip",
    )


def whiskers(value: pd.Series, low: pd.Series, high: pd.Series, colour: str) -> dict[str, Any]:
    """Error bars from `low` to `high`."""
    return {
        "type": "data",
        "symmetric": False,
        "array": high - value,
        "arrayminus": value - low,
        "color": colour,
        "thickness": 1.2,
        "width": 3,
    }
