"""Relearning of forgotten answers, compared with wrong answers to the same prompts."""

import pandas as pd
import plotly.graph_objects as go

from neuronscope.plots._log_axis import place_of_zero, ticks
from neuronscope.plots._look import HIDDEN, MUTED, common_layout
from neuronscope.results.findings import ITSELF


def relearning_probe_curve(curve: pd.DataFrame) -> go.Figure:
    """Share of answers given, by distance in weight space.

    Args:
        curve: `control` (-1 for the true answers, else the number of a placebo), `distance` (the
            distance moved, relative to the norm of the weights; 0 is the unlearned model),
            `answered`, `total`, `share`, and the 95 % Wilson interval of the share, `low` and
            `high`.
    """
    true = curve.loc[curve["control"] == ITSELF, :]
    placebos = curve.loc[curve["control"] != ITSELF, :]
    start = place_of_zero(true["distance"])
    figure = go.Figure()
    for number, (_, one) in enumerate(placebos.groupby("control")):
        figure.add_trace(_line(one, start, "wrong answers", MUTED, 1.5, first=number == 0))
    x = true["distance"].clip(lower=start)
    figure.add_trace(
        go.Scatter(
            x=[*x, *x[::-1]],
            y=[*true["high"], *true["low"][::-1]],
            fill="toself",
            fillcolor="rgba(213,94,0,0.15)",
            line_width=0,
            mode="lines",
            showlegend=False,
            hoverinfo="skip",
        )
    )
    figure.add_trace(_line(true, start, "forgotten answers", HIDDEN, 3.0, first=True))
    subtitle = (
        "Share of answers given after small gradient steps on those same answers: the "
        f"{true['total'].iloc[0]} forgotten answers (band: 95\u00a0% Wilson interval), and "
        f"{placebos['control'].nunique()} draws of wrong answers to the same prompts."
    )
    figure.update_layout(common_layout("Relearning probe", subtitle, plot_height=300))
    figure.update_xaxes(
        type="log",
        title_text="distance in weight space (‖Δθ‖ / ‖θ‖)",
        **ticks(true["distance"], start),
    )
    figure.update_yaxes(
        title_text="answers given", tickformat=".0%", range=[-0.03, 1.03], dtick=0.25
    )
    return figure


def _line(
    table: pd.DataFrame, start: float, name: str, colour: str, width: float, *, first: bool
) -> go.Scatter:
    return go.Scatter(
        x=table["distance"].clip(lower=start),
        y=table["share"],
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=first,
        line={"color": colour, "width": width},
        marker={"size": 4 + width},
        customdata=table[["distance", "answered", "total"]],
        hovertemplate="distance %{customdata[0]:.2g}: %{customdata[1]} of %{customdata[2]} answers"
        "<extra>" + name + "</extra>",
    )
