"""Influence before and after, one dot per neuron."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Int

from neuronscope.plots._crowd import diagonal, largest, shading
from neuronscope.plots._diagnosed import Diagnosed, table_and_unit
from neuronscope.plots._look import ELSEWHERE, HIDDEN, common_layout
from neuronscope.plots._names import neuron_names
from neuronscope.plots._symlog import linear_part, ticks, to_axis

DOTS = 4000
"""Maximum number of spurious neurons drawn as dots; a table of at most this many neurons needs no
shading."""

EXTREMES = 1000
"""Number of other neurons drawn as dots if the table is too large to draw all."""


def influence_shift(neurons: Diagnosed, unit: str | None = None) -> go.Figure:
    """Scatter plot of influence before (x) and after (y), with spurious neurons highlighted.

    Neurons on the diagonal did not change; those far below it oppose the answer more than before.
    In a large table, the dots are the spurious neurons and the others farthest from the origin;
    shading shows the density of the rest, and the subtitle gives the counts. Both axes are linear
    around zero and logarithmic outside.

    Args:
        neurons: A diagnosis, or its table with one row per neuron: `site`, `layer`, `neuron`,
            `before`, `after`, `d_minus`, `q`, `spurious` and, for mixtures of experts, `expert`.
            Unmeasured neurons (NaN) are left out and counted in the subtitle.
        unit: Unit of the influence; by default that of the diagnosis, or nats.
    """
    neurons, unit = table_and_unit(neurons, "neurons", unit)
    values = neurons[["before", "after"]].to_numpy(dtype=float)
    measured = ~np.isnan(values).any(axis=1)
    spurious = neurons["spurious"].to_numpy(dtype=bool)
    marked = np.flatnonzero(measured & spurious)
    others = np.flatnonzero(measured & ~spurious)
    linear = linear_part(values[measured].ravel())
    places = to_axis(values, linear)

    figure = go.Figure()
    dots = {"other": others, "spurious": marked}
    if len(marked) + len(others) > DOTS:
        dots = {
            "other": largest(np.hypot(*values.T), others, EXTREMES),
            "spurious": largest(neurons["d_minus"].to_numpy(dtype=float), marked, DOTS),
        }
        rest = np.array(measured)
        rest[np.concatenate(list(dots.values()))] = False
        figure.add_trace(shading(*places[rest].T))
    figure.add_trace(diagonal(np.nanmin(places), np.nanmax(places)))
    for (name, rows), colour in zip(dots.items(), (ELSEWHERE, HIDDEN), strict=True):
        figure.add_scatter(
            x=places[rows, 0],
            y=places[rows, 1],
            mode="markers",
            name=name,
            marker={"color": colour, "size": 5, "opacity": 0.75},
            text=neuron_names(neurons, rows),
            customdata=values[rows],
            hovertemplate="%{text}<br>before %{customdata[0]:.3~g}, after %{customdata[1]:.3~g} "
            + unit
            + "<extra></extra>",
        )
    subtitle = _subtitle(neurons, dots, len(marked), len(others))
    subtitle += f" The axes are linear within ±{linear:g} {unit} and logarithmic outside."
    figure.update_layout(common_layout("Influence before and after", subtitle, plot_height=460))
    at, labels = ticks(linear, float(np.nanmax(np.abs(values))))
    figure.update_xaxes(title_text=f"influence before ({unit})", tickvals=at, ticktext=labels)
    figure.update_yaxes(title_text=f"influence after ({unit})", tickvals=at, ticktext=labels)
    return figure


def _subtitle(
    neurons: pd.DataFrame, dots: dict[str, Int[np.ndarray, " _"]], marked: int, others: int
) -> str:
    """What the dots and the shading show, with counts."""
    spurious, other = len(dots["spurious"]), len(dots["other"])
    text = f"Dots: {spurious:,} of {marked:,} spurious neurons"
    text += " (those with the largest D⁻)" if spurious < marked else ""
    text += f" and {other:,} of {others:,} other neurons"
    text += " (those farthest from the origin)." if other < others else "."
    rest = marked + others - spurious - other
    if rest:
        text += f" Shading: density of the other {rest:,}."
    missing = len(neurons) - marked - others
    if missing:
        text += f" {missing:,} neurons were not measured."
    if neurons["q"].isna().all():
        text += (
            " Not tested for spurious neurons: the test needs per-fact values and other facts of "
            "the same relation."
        )
    return text
