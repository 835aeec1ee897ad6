"""How methods and controls are drawn: colours, markers, bands and whiskers."""

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
"""Colour and marker of the controls that any figure may show."""

BAND, FAINTEST = 0.13, 0.05
"""Opacity of a single interval, and the lowest opacity if there are many."""


@dataclass(frozen=True)
class Series:
    """Name and appearance of a method or a control."""

    name: str
    """Escaped: contains no markup."""

    colour: str
    symbol: str
    control: bool = False

    @property
    def width(self) -> float:
        """Line width: methods stand out against the controls."""
        return 1.8 if self.control else 2.5


def series_of_methods(names: Iterable[str]) -> dict[str, Series]:
    """The appearance of every method, in the given order."""
    return {
        name: Series(as_text(name), SERIES[place % len(SERIES)], SYMBOLS[place % len(SYMBOLS)])
        for place, name in enumerate(dict.fromkeys(names))
    }


def series_of(lines: pd.DataFrame) -> dict[str, Series]:
    """The appearance of every line of a table, methods first.

    A control that belongs to one method has that method's colour.

    Args:
        lines: Has `line`, `control`, `model` and, if there are several methods, `method`.
    """
    attacked, controls = lines.loc[~lines["control"], :], lines.loc[lines["control"], :]
    others = controls.loc[~controls["model"].isin(list(CONTROLS)), "line"]
    free = series_of_methods([*attacked["line"], *others])
    series = {line: free[line] for line in dict.fromkeys(attacked["line"])}
    for line, rows in controls.groupby("line", sort=False):
        name, model = str(line), str(rows["model"].iloc[0])
        if model in CONTROLS:
            colour, symbol = CONTROLS[model]
        else:
            colour, symbol = free[name].colour, free[name].symbol
        method = rows.iloc[0].get("method")
        if method in series:
            colour = series[method].colour
        series[name] = Series(as_text(name), colour, symbol, control=True)
    return series


def band(
    x: Float[np.ndarray, " point"],
    low: pd.Series,
    high: pd.Series,
    series: Series,
    beside: int,
) -> go.Scatter:
    """The interval band of a line.

    Args:
        beside: Number of bands in the panel. They overlap, so that many bands are drawn fainter.
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
