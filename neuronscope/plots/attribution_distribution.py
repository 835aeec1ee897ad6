"""Distribution of influence over neurons, before and after (arXiv 2509.22263, Fig. 6a)."""

import numpy as np
import plotly.graph_objects as go

from neuronscope.plots._diagnosed import Diagnosed, table_and_unit
from neuronscope.plots._look import AFTER, BEFORE, common_layout
from neuronscope.plots._symlog import from_axis, linear_part, ticks, to_axis

BINS = 81
"""Number of bins; odd, so that one bin is centred at zero."""


def attribution_distribution(neurons: Diagnosed, unit: str | None = None) -> go.Figure:
    """Histogram of influence over neurons, before and after, on logarithmic axes.

    The influence axis is linear around zero and logarithmic on both sides, so that a few strong
    neurons of either sign remain visible among many weak ones. Mass that appears on the left after
    unlearning is negative influence gained.

    Args:
        neurons: A diagnosis, or its table with one row per neuron: `before`, `after`. Unmeasured
            neurons (NaN) are left out.
        unit: Unit of the influence; by default that of the diagnosis, or nats.
    """
    neurons, unit = table_and_unit(neurons, "neurons", unit)
    values = neurons[["before", "after"]].dropna().to_numpy(dtype=float)
    linear = linear_part(values.ravel())
    largest = float(np.abs(values).max())
    edge = float(to_axis(np.array([max(largest, linear)]), linear)[0]) * (1 + 1e-9)
    edges = np.linspace(-edge, edge, BINS + 1)
    bounds = from_axis(np.stack([edges[:-1], edges[1:]], axis=-1), linear)

    figure = go.Figure()
    for column, (name, colour) in enumerate((("before", BEFORE), ("after", AFTER))):
        counts, _ = np.histogram(to_axis(values[:, column], linear), bins=edges)
        figure.add_scatter(
            x=(edges[1:] + edges[:-1]) / 2,
            y=np.where(counts > 0, counts, np.nan),
            mode="lines+markers",
            name=name,
            line={"color": colour, "shape": "hvh", "width": 1.8},
            marker={"size": 4},
            customdata=bounds,
            hovertemplate="%{y:,} neurons between %{customdata[0]:.2~g} and "
            "%{customdata[1]:.2~g} " + unit + "<extra>" + name + "</extra>",
        )
    subtitle = (
        f"{len(values):,} of {len(neurons):,} neurons. The influence axis is linear within "
        f"±{linear:g} {unit} and logarithmic outside; empty bins are left out."
    )
    figure.update_layout(common_layout("Distribution of influence", subtitle, plot_height=320))
    places, labels = ticks(linear, largest)
    figure.update_xaxes(title_text=f"influence ({unit})", tickvals=places, ticktext=labels)
    figure.update_yaxes(title_text="number of neurons", type="log", dtick=1, tickformat=",")
    return figure
