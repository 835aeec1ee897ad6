"""Influence before against influence after, one dot per neuron."""

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
"""Most spurious neurons drawn as dots; a table of no more neurons than this needs no shading."""

EXTREMES = 1000
"""How many of the other neurons are drawn as dots where the table is too large for all."""


def influence_shift(neurons: Diagnosed, unit: str | None = None) -> go.Figure:
    """Dots of influence before (x) against after (y): spurious unlearning neurons stand out.

    Neurons on the diagonal have not changed; those far below it oppose the answer more than they
    did. In a large table dots are the neurons marked spurious and the other ones farthest from the
    origin, and shading counts all that are no dots; the subtitle says how many of how many. Both
    axes are linear around zero and logarithmic outside.

    Args:
        neurons: A diagnosis, or its table with one row per neuron: `site`, `layer`, `neuron`,
            `before`, `after`, `d_minus`, `q`, `spurious` and, for mixtures of experts, `expert`.
            Neurons without influence (NaN: not measured) are left out and counted.
        unit: Unit of the influence; the diagnosis' own, or nats, if not given.
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
    """What is drawn, and how many of how many."""
    spurious, other = len(dots["spurious"]), len(dots["other"])
    text = f"Dots: {spurious:,} of {marked:,} spurious neurons"
    text += " (those of largest D⁻)" if spurious < marked else ""
    text += f" and {other:,} of {others:,} others"
    text += " (those farthest from the origin)." if other < others else "."
    rest = marked + others - spurious - other
    if rest:
        text += f" Shading: the other {rest:,}, darker where there are more."
    missing = len(neurons) - marked - others
    if missing:
        text += f" {missing:,} neurons were not measured."
    if neurons["q"].isna().all():
        text += " None could be tested against facts that were not to be forgotten."
    return text
