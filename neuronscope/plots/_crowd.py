"""Figures of many neurons: the largest are drawn as dots, the others as shading."""

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float, Int

from neuronscope.plots._look import CROWD, MUTED

BINS = 100
"""Number of shaded cells along each axis."""


def largest(
    size: Float[np.ndarray, " neuron"], rows: Int[np.ndarray, " row"], most: int
) -> Int[np.ndarray, " drawn"]:
    """The `most` rows at which `size` is largest."""
    return rows[np.argsort(-size[rows], kind="stable")[:most]]


def diagonal(low: float, high: float) -> go.Scatter:
    """The diagonal, on which unchanged neurons lie."""
    return go.Scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        name="unchanged",
        line={"color": MUTED, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )


def shading(
    before: Float[np.ndarray, " neuron"], after: Float[np.ndarray, " neuron"]
) -> go.Heatmap:
    """The density of neurons, shaded on a logarithmic scale."""
    counts, x_edges, y_edges = np.histogram2d(before, after, bins=BINS)
    counts = counts.T
    shade = np.full(counts.shape, np.nan)
    shade[counts > 0] = np.log10(counts[counts > 0])
    return go.Heatmap(
        name="the rest",
        x=x_edges,
        y=y_edges,
        z=shade.astype(np.float32),
        customdata=counts.astype(np.int64),
        colorscale=CROWD,
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{customdata:,} neurons in this cell<extra></extra>",
    )
