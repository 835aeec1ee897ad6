"""Influence after unlearning against after an attack, per neuron (arXiv 2509.22263, Fig. 6b)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float

from neuronscope.analysis.statistics import pearson, spearman
from neuronscope.plots._columns import require
from neuronscope.plots._crowd import diagonal, largest, shading
from neuronscope.plots._look import HIDDEN, common_layout
from neuronscope.plots._names import neuron_names
from neuronscope.plots._symlog import linear_part, ticks, to_axis

COLUMNS = ("site", "layer", "neuron", "before", "after")

DOTS = 1000
"""Most neurons drawn as dots: those whose influence the attack moved most."""

DIGITS = ".3f"
"""Of a correlation: stable ones differ in the third."""


def stability_scatter(neurons: pd.DataFrame, unit: str = "nats") -> go.Figure:
    """Influence of each neuron after unlearning (x) against after an attack (y).

    If the attack leaves every neuron's part as it was, all lie on the diagonal and the correlations
    are 1. Both usual ones are told: Pearson's follows the few neurons of large influence, the
    ranks' one all alike. In a large table dots are the neurons that moved most, and shading counts
    the others. Both axes are linear around zero and logarithmic outside, so that outliers neither
    leave the drawing nor press the others together.

    Args:
        neurons: One row per neuron: `site`, `layer`, `neuron`, `before` (the attack: after
            unlearning), `after` (the attack) and, for mixtures of experts, `expert`. Neurons
            without influence (NaN: not measured) are left out and counted.
        unit: Unit of the influence.

    Raises:
        ValueError: If columns are missing or no neuron was measured.
    """
    require(neurons, COLUMNS, "neurons")
    values = neurons[["before", "after"]].to_numpy(dtype=float)
    measured = np.flatnonzero(~np.isnan(values).any(axis=1))
    if not len(measured):
        raise ValueError("Expected neurons with influence, but all of them are NaN.")
    linear = linear_part(values[measured].ravel())
    places = to_axis(values, linear)
    dots = largest(np.abs(values[:, 1] - values[:, 0]), measured, DOTS)
    figure = go.Figure()
    rest = np.setdiff1d(measured, dots)
    if len(rest):
        figure.add_trace(shading(*places[rest].T))
    figure.add_trace(diagonal(places[measured].min(), places[measured].max()))
    figure.add_scatter(
        x=places[dots, 0],
        y=places[dots, 1],
        mode="markers",
        name="moved most" if len(rest) else "neurons",
        marker={"color": HIDDEN, "size": 5, "opacity": 0.6},
        text=neuron_names(neurons, dots),
        customdata=values[dots],
        hovertemplate="%{text}<br>after unlearning %{customdata[0]:.3~g}, after the attack "
        "%{customdata[1]:.3~g} " + unit + "<extra></extra>",
    )
    subtitle = _subtitle(values[measured], len(dots), len(neurons))
    subtitle += f" The axes are linear within ±{linear:g} {unit} and logarithmic outside."
    title = "Influence after unlearning and after the attack"
    figure.update_layout(common_layout(title, subtitle, plot_height=460))
    at, labels = ticks(linear, float(np.abs(values[measured]).max()))
    axis = {"tickvals": at, "ticktext": labels}
    figure.update_xaxes(title_text=f"influence after unlearning ({unit})", **axis)
    figure.update_yaxes(title_text=f"influence after the attack ({unit})", **axis)
    return figure


def _subtitle(values: Float[np.ndarray, "neuron state"], dots: int, neurons: int) -> str:
    """The correlations, and what is drawn."""
    text = (
        f"Pearson's correlation {_number(pearson(*values.T))}, Spearman's rank correlation "
        f"{_number(spearman(*values.T))}, over {len(values):,} neurons."
    )
    if dots < len(values):
        text += f" Dots: the {dots:,} that moved most; shading: the other {len(values) - dots:,}."
    if len(values) < neurons:
        text += f" {neurons - len(values):,} were not measured."
    return text


def _number(correlation: float) -> str:
    return "undefined" if np.isnan(correlation) else f"{correlation:{DIGITS}}"
