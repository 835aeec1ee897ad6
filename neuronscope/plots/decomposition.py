"""Decomposition of the drop, layer by layer: influence lost and gained, elsewhere, remainder."""

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._diagnosed import Diagnosed, table_and_unit
from neuronscope.plots._look import ELSEWHERE, ERASED, HIDDEN, INK, REMAINDER, common_layout

PARTS = {
    "positive_lost": ("positive influence lost", ERASED),
    "negative_gained": ("negative influence gained", HIDDEN),
    "elsewhere": ("elsewhere", ELSEWHERE),
    "remainder": ("remainder", REMAINDER),
}
"""Each part's name in the figure, and its colour."""

ROWS = {"positive_lost": 2, "negative_gained": 2, "elsewhere": 3, "remainder": 3}
"""The panel that shows each part separately: what these neurons carry (2), what they do not (3)."""

LABELS = 16
"""Maximal number of tick labels that fit side by side."""


def decomposition(layers: Diagnosed, unit: str | None = None) -> go.Figure:
    """Stacked parts of the drop per layer (top panel), and each part with its interval (below).

    In every layer the four parts add up to the same drop, decomposed with respect to that layer's
    neurons: positive influence lost, negative influence gained, the change that remains with those
    neurons at their baseline (elsewhere), and what the attribution method leaves unexplained
    (remainder). Positive parts stack above zero, negative parts below.

    Args:
        layers: A diagnosis, or its table with one row per layer, or per site if all layers were
            attributed jointly: `site`, `layer`, `drop`, the four parts, and `<name>_low`,
            `<name>_high` for each of the five.
        unit: Unit of the score; by default that of the diagnosis, or nats.
    """
    layers, unit = table_and_unit(layers, "layers", unit)
    sites = layers["site"].unique()
    names = layers["layer"].astype(str)
    if len(sites) > 1:
        names = layers["site"].astype(str) + " " + names
    figure = make_subplots(
        rows=3, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.42, 0.29, 0.29]
    )
    for part in PARTS:
        figure.add_trace(_bars(layers, part, names, unit), row=1, col=1)
        figure.add_trace(_whiskers(layers, part, names, unit), row=ROWS[part], col=1)
    figure.add_traces(_drop(layers, unit), rows=1, cols=1)

    subtitle = (
        "Top: stacked parts; in every layer, the bars above zero minus those below equal the drop "
        "(line). Below: "
    )
    subtitle += (
        "the same parts, without intervals, because the recordings hold only means over facts."
        if layers["drop_low"].isna().all()
        else "each part with its 95 % interval over facts, on a separate scale per panel."
    )
    title = f"Parts of the drop at {', '.join(sites)}"
    figure.update_layout(common_layout(title, subtitle, plot_height=600))
    figure.update_layout(barmode="relative", bargap=0.25)
    step = math.ceil(len(layers) / LABELS)
    figure.update_xaxes(
        range=[-0.5, len(layers) - 0.5],
        tickvals=np.arange(0, len(layers), step),
        ticktext=names.iloc[::step],
        showgrid=False,
        zeroline=False,
    )
    figure.update_xaxes(title_text="layer", row=3, col=1)
    for row, title in enumerate(("all parts", "the layer's neurons", "other causes"), start=1):
        figure.update_yaxes(title_text=f"{title} ({unit})", row=row, col=1)
    return figure


def _bars(layers: pd.DataFrame, part: str, names: pd.Series, unit: str) -> go.Bar:
    """One part of the stack."""
    name, colour = PARTS[part]
    return go.Bar(
        x=np.arange(len(layers)),
        y=layers[part],
        name=name,
        legendgroup=part,
        marker={"color": colour, "line": {"width": 0}},
        text=names,
        textposition="none",
        hovertemplate="layer %{text}: %{y:.3~g} " + unit + f"<extra>{name}</extra>",
    )


def _whiskers(layers: pd.DataFrame, part: str, names: pd.Series, unit: str) -> go.Scatter:
    """One part with its interval, shifted so that it does not cover the panel's other part."""
    low, high = f"{part}_low", f"{part}_high"
    name, colour = PARTS[part]
    offset = -0.15 if part in ("positive_lost", "elsewhere") else 0.15
    return go.Scatter(
        x=np.arange(len(layers)) + offset,
        y=layers[part],
        error_y={
            "array": layers[high] - layers[part],
            "arrayminus": layers[part] - layers[low],
            "thickness": 1.5,
            "width": 0,
        },
        mode="markers",
        name=name,
        legendgroup=part,
        showlegend=False,
        marker={"color": colour, "size": 6},
        text=names,
        customdata=layers[[low, high]],
        hovertemplate="layer %{text}: %{y:.3~g} [%{customdata[0]:.3~g}, %{customdata[1]:.3~g}] "
        + unit
        + f"<extra>{name}</extra>",
    )


def _drop(layers: pd.DataFrame, unit: str) -> list[go.Scatter]:
    """The drop as a line across all bars, and its interval as a band behind it."""
    edges = layers.iloc[[0, *range(len(layers)), -1]]
    x = np.array([-0.5, *range(len(layers)), len(layers) - 0.5])
    band = go.Scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([edges["drop_high"], edges["drop_low"][::-1]]),
        fill="toself",
        fillcolor="rgba(128,136,148,0.18)",
        line_width=0,
        mode="lines",
        name="drop, 95 % interval",
        legendgroup="drop",
        showlegend=False,
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=x,
        y=edges["drop"],
        mode="lines",
        name="drop",
        legendgroup="drop",
        line={"color": INK, "width": 1.5, "dash": "dash"},
        customdata=edges[["drop_low", "drop_high"]],
        hovertemplate="drop %{y:.3~g} [%{customdata[0]:.3~g}, %{customdata[1]:.3~g}] "
        + unit
        + "<extra></extra>",
    )
    return [band, line]
