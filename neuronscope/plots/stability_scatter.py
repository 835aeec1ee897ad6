"""Influence of each neuron after unlearning and after an attack (arXiv 2509.22263, Fig. 6b)."""

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
"""Maximum number of neurons drawn as dots: those whose influence the attack changed most."""

DIGITS = ".3f"
"""Format of correlations: high ones differ only in the third digit."""


def stability_scatter(neurons: pd.DataFrame, unit: str = "nats") -> go.Figure:
    """Scatter plot of each neuron's influence after unlearning (x) and after an attack (y).

    If the attack changes no neuron's influence, all lie on the diagonal and the correlations are 1.
    The subtitle gives both Pearson's correlation, which few neurons of large influence dominate,
    and Spearman's, which weights all neurons equally. In a large table, the dots are the neurons
    that changed most, and shading shows the density of the others. Both axes are linear around zero
    and logarithmic outside, so that outliers neither fall outside the plot nor compress the rest.

    Args:
        neurons: One row per neuron: `site`, `layer`, `neuron`, `before` (before the attack, that
            is, after unlearning), `after` (after the attack) and, for mixtures of experts,
            `expert`. Unmeasured neurons (NaN) are left out and counted in the subtitle.
        unit: Unit of the influence.

    Raises:
        ValueError: If columns are missing or no neuron was measured.
    """
    require(neurons, COLUMNS, "neurons")
    values = neurons[["before", "after"]].to_numpy(dtype=float)
    measured = np.flatnonzero(~np.isnan(values).any(axis=1))
    if not len(measured):
        raise ValueError("Expected neurons with measured influence, but all of them are NaN.")
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
        name="largest change" if len(rest) else "neurons",
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
    """The correlations, and what the dots and the shading show."""
    text = (
        f"Pearson's correlation {_number(pearson(*values.T))}, Spearman's rank correlation "
        f"{_number(spearman(*values.T))}, over {len(values):,} neurons."
    )
    if dots < len(values):
        text += f" Dots: the {dots:,} that changed most; shading: the other {len(values) - dots:,}."
    if len(values) < neurons:
        text += f" {neurons - len(values):,} were not measured."
    return text


def _number(correlation: float) -> str:
    return "undefined" if np.isnan(correlation) else f"{correlation:{DIGITS}}"
