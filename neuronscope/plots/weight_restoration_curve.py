"""Recovery by the number of neurons restored or ablated."""

from typing import Literal

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._look import (
    AFTER,
    BEFORE,
    ELSEWHERE,
    ERASED,
    HIDDEN,
    INK,
    MUTED,
    REMAINDER,
    common_layout,
)
from neuronscope.results.findings import ITSELF

LINES = (
    (ERASED, "circle"),
    (HIDDEN, "square"),
    (AFTER, "diamond"),
    (BEFORE, "triangle-up"),
    (REMAINDER, "triangle-down"),
    (INK, "x"),
)
"""Colour and marker of each ranking, in order; from the seventh on they repeat, dashed."""

HEIGHT = 470
"""Height of both panels together, in pixels."""

AXIS = 52
ENTRY = 19
"""Height of the axis, and of a legend entry, in pixels."""

BAND = 0.13
"""Opacity of a ranking's interval band."""


def weight_restoration_curve(
    curves: pd.DataFrame,
    unit: str = "nats",
    *,
    changed: Literal["restored", "silenced"] = "restored",
) -> go.Figure:
    """Recovered target (top) and answers (below), one line per ranking; random neurons in grey.

    Bands are 95 % intervals over facts. The grey band is the envelope of the intervals of all
    random draws matched to the first ranking of the table.

    Args:
        curves: `ranking`, best first; `control` (-1 for the ranking itself, else the number of a
            random draw); `size`, `recovered`, `low`, `high`, `answered`, `total`.
        unit: Unit of the target.
        changed: Whether the neurons were restored or silenced (set to zero).
    """
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.6, 0.4])
    itself = curves.loc[curves["control"] == ITSELF, :]
    names = list(dict.fromkeys(itself["ranking"]))
    of_best = curves.loc[curves["ranking"] == names[0], :]
    random = of_best.loc[of_best["control"] != ITSELF, :]
    if not random.empty:
        _add_random(figure, random, names[0], unit)
    for number, name in reversed(list(enumerate(names))):
        _add_ranking(figure, itself.loc[itself["ranking"] == name, :], number, unit)
    total, most = int(itself["total"].iloc[0]), int(itself["size"].max())
    subtitle = f"{total} forgotten facts; up to {most:,} neurons {changed}. Bands: 95 % intervals."
    if not random.empty:
        subtitle += (
            f" Grey: {random['control'].nunique()} draws of random neurons, as many in each "
            f"layer as in the ranking {names[0]}."
        )
    title = f"Recovery with {changed} neurons"
    # On a narrow page the legend needs one line per ranking.
    below = AXIS + ENTRY * (len(names) + 1)
    figure.update_layout(
        common_layout(title, subtitle, plot_height=HEIGHT, above=12, below=below),
        legend={"traceorder": "reversed", "y": -AXIS / HEIGHT, "yanchor": "top"},
        hovermode="closest",
    )
    figure.update_xaxes(type="log", dtick=1, tickformat="~s")
    figure.update_xaxes(title_text=f"number of neurons {changed}", row=2, col=1)
    figure.update_yaxes(title_text=f"target recovered ({unit})", row=1, col=1)
    figure.update_yaxes(
        title_text="facts answered", range=[-0.04 * total, 1.04 * total], row=2, col=1
    )
    return figure


def _add_ranking(figure: go.Figure, rows: pd.DataFrame, number: int, unit: str) -> None:
    """Draw a ranking's recovered target with its band, and its answers."""
    colour, symbol = LINES[number % len(LINES)]
    name = str(rows["ranking"].iloc[0])
    style = {
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "line": {"color": colour, "width": 2, "dash": "solid" if number < len(LINES) else "dash"},
        "marker": {"color": colour, "symbol": symbol, "size": 7},
        "customdata": rows[["low", "high", "answered", "total", "recovered"]],
        "hovertemplate": "%{x:,} neurons: %{customdata[4]:.3~g} [%{customdata[0]:.3~g}, "
        "%{customdata[1]:.3~g}] " + unit + "<br>%{customdata[2]} of %{customdata[3]} answers"
        f"<extra>{name}</extra>",
    }
    figure.add_trace(_band(rows, colour, name), row=1, col=1)
    figure.add_trace(go.Scatter(x=rows["size"], y=rows["recovered"], **style), row=1, col=1)
    style["showlegend"] = False
    figure.add_trace(go.Scatter(x=rows["size"], y=rows["answered"], **style), row=2, col=1)


def _band(rows: pd.DataFrame, colour: str, group: str) -> go.Scatter:
    """The interval band of a line."""
    return go.Scatter(
        x=np.concatenate([rows["size"], rows["size"][::-1]]),
        y=np.concatenate([rows["high"], rows["low"][::-1]]),
        mode="lines",
        fill="toself",
        fillcolor=colour,
        opacity=BAND,
        line_width=0,
        name=f"{group}, 95 % interval",
        legendgroup=group,
        showlegend=False,
        hoverinfo="skip",
    )


def _add_random(figure: go.Figure, random: pd.DataFrame, ranking: str, unit: str) -> None:
    """Draw the recovery by random neurons: mean and envelope of the draws."""
    target = _over_draws(random, "recovered", "low", "high")
    answers = _over_draws(random, "answered", "answered", "answered")
    for row, around, what in ((1, target, unit), (2, answers, "answers")):
        figure.add_trace(_band(around, ELSEWHERE, "random").update(opacity=0.25), row=row, col=1)
        figure.add_scatter(
            x=around["size"],
            y=around["mean"],
            mode="lines",
            name="random",
            legendgroup="random",
            showlegend=row == 1,
            line={"color": MUTED, "width": 1.5, "dash": "dot"},
            customdata=around[["low", "high"]],
            hovertemplate="%{x:,} random neurons: %{y:.3~g} [%{customdata[0]:.3~g}, "
            "%{customdata[1]:.3~g}] " + what + f"<extra>random, matched to {ranking}</extra>",
            row=row,
            col=1,
        )


def _over_draws(random: pd.DataFrame, middle: str, low: str, high: str) -> pd.DataFrame:
    """Mean of `middle`, minimum of `low` and maximum of `high` over the draws, per size."""
    draws = random.groupby("size")
    ends = {"mean": draws[middle].mean(), "low": draws[low].min(), "high": draws[high].max()}
    return pd.DataFrame(ends).reset_index()
