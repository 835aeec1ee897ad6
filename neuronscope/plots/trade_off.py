"""Retention and recovery under attack, one point per run."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from neuronscope.plots._columns import require
from neuronscope.plots._look import common_layout, legend_below
from neuronscope.plots._series import Series, series_of_methods, whiskers

COLUMNS = (
    "method", "seed", "retained", "retained_low", "retained_high",
    "recovery", "recovery_low", "recovery_high",
)  # fmt: skip

HEIGHT = 400
"""Height of the drawing, in pixels."""


def trade_off(runs: pd.DataFrame) -> go.Figure:
    """Retention (x) and recovery under attack (y), one point per run; lower right is better.

    Attacks recover nothing from a ruined model either, so both numbers must be read together.

    Args:
        runs: One row per run: `method`, `seed`, the share of the facts to be kept that is still
            answered, with its interval (`retained`, `retained_low`, `retained_high`), and the share
            of forgotten facts that an attack recovered (`recovery`, `recovery_low`,
            `recovery_high`). Intervals that are NaN are not drawn.

    Raises:
        ValueError: If columns are missing or there are no runs.
    """
    require(runs, COLUMNS, "runs")
    methods = runs["method"].astype(str)
    series = series_of_methods(methods)
    figure = go.Figure([_points(runs.loc[methods == name, :], one) for name, one in series.items()])
    legend, below = legend_below([one.name for one in series.values()], HEIGHT)
    subtitle = (
        f"{len(runs)} runs of {len(series)} methods; whiskers are 95\u00a0% intervals. Lower right "
        "is better: high retention, low recovery."
    )
    figure.update_layout(
        common_layout(
            "Retention and recovery", subtitle, plot_height=HEIGHT, above=12, below=below
        ),
        legend=legend,
        showlegend=True,
    )
    share = {"tickformat": ".0%", "dtick": 0.25}
    # Few runs lose many of these facts; starting the axis at 0 would compress the others.
    left = np.floor(4 * np.nanmin(runs[["retained", "retained_low"]].to_numpy(dtype=float))) / 4
    figure.update_xaxes(title_text="facts to be kept, answered", range=[left - 0.03, 1.03], **share)
    figure.update_yaxes(title_text="forgotten facts recovered", range=[-0.04, 1.04], **share)
    return figure


def _points(runs: pd.DataFrame, series: Series) -> go.Scatter:
    """The runs of one method."""
    kept, back = (
        whiskers(runs[what], runs[f"{what}_low"], runs[f"{what}_high"], series.colour)
        for what in ("retained", "recovery")
    )
    intervals = ["retained_low", "retained_high", "recovery_low", "recovery_high"]
    return go.Scatter(
        x=runs["retained"],
        y=runs["recovery"],
        error_x=kept,
        error_y=back,
        mode="markers",
        name=series.name,
        marker={"color": series.colour, "symbol": series.symbol, "size": 10},
        customdata=runs[["seed", *intervals]],
        hovertemplate="seed %{customdata[0]}<br>retained %{x:.0%} [%{customdata[1]:.0%}, "
        "%{customdata[2]:.0%}]<br>recovered %{y:.0%} [%{customdata[3]:.0%}, "
        "%{customdata[4]:.0%}]<extra>%{fullData.name}</extra>",
    )
