"""Cumulative influence variation over neurons (arXiv 2509.22263, Fig. 3b)."""

import plotly.graph_objects as go

from neuronscope.plots._diagnosed import Diagnosed, table_and_unit
from neuronscope.plots._look import ERASED, HIDDEN, MUTED, common_layout

MARK = 100
"""The number of neurons at which the paper reports both sums."""

LINES = {
    "d_plus": ("D⁺, positive influence lost", ERASED),
    "d_minus": ("D⁻, negative influence gained", HIDDEN),
}


def cumulative_variation(
    curve: Diagnosed, unit: str | None = None, *, log_x: bool = True
) -> go.Figure:
    """Cumulative sums of D⁺ and D⁻ over neurons, each sorted in descending order.

    A curve that rises steeply and then stays flat means that few neurons account for the change.
    The sums at m = 100 are marked, or at the last neuron if there are fewer.

    Args:
        curve: A diagnosis, or its table with `m` ascending, `d_plus`, `d_minus` (sums over the m
            largest).
        unit: Unit of the influence; by default that of the diagnosis, or nats.
        log_x: Whether the axis of the number of neurons is logarithmic.
    """
    curve, unit = table_and_unit(curve, "curve", unit)
    at = curve[curve["m"] <= MARK].iloc[-1]
    m = int(at["m"])
    figure = go.Figure()
    for column, (name, colour) in LINES.items():
        figure.add_scatter(
            x=curve["m"],
            y=curve[column],
            mode="lines",
            name=name,
            legendgroup=column,
            line={"color": colour, "width": 2.5},
            hovertemplate="%{x:,} neurons: %{y:.4~g} " + unit + "<extra>" + name + "</extra>",
        )
        figure.add_scatter(
            x=[m],
            y=[at[column]],
            mode="markers",
            name=f"{name} at m = {m}",
            legendgroup=column,
            showlegend=False,
            marker={"color": colour, "size": 10, "line": {"color": "white", "width": 1.5}},
            hovertemplate=f"m = {m}: " + "%{y:.4~g} " + unit + "<extra></extra>",
        )
    figure.add_vline(x=m, line={"color": MUTED, "width": 1, "dash": "dot"}, layer="below")
    subtitle = (
        f"At m = {m}: D⁺ = {at['d_plus']:.4g} {unit}, D⁻ = {at['d_minus']:.4g} {unit} "
        f"(dots). All {int(curve['m'].iloc[-1]):,} neurons: {curve['d_plus'].iloc[-1]:.4g} and "
        f"{curve['d_minus'].iloc[-1]:.4g}."
    )
    figure.update_layout(common_layout("Cumulative variation", subtitle, plot_height=340))
    figure.update_xaxes(title_text="number of neurons m")
    if log_x:
        figure.update_xaxes(type="log", dtick=1)
    figure.update_yaxes(title_text=f"sum over the m largest neurons ({unit})", rangemode="tozero")
    return figure
