"""Layer × neuron maps of influence: before, after, and their difference, on one scale."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float, Int
from plotly.subplots import make_subplots

from neuronscope.plots._diagnosed import Diagnosed, table_and_unit
from neuronscope.plots._look import DIVERGING, colour_bar, common_layout
from neuronscope.plots._names import expert_places

PANELS = {"before": "before", "after": "after", "difference": "difference (after − before)"}

COLOUR_QUANTILE = 0.99
"""Quantile of the cells' magnitudes at which the colour scale ends."""

GAP = 34
"""Height of the gap between panels, in pixels."""


def neuron_heatmap(
    neurons: Diagnosed,
    *,
    site: str = "mlp.post",
    unit: str | None = None,
    what: Sequence[str] = ("before", "after", "difference"),
    columns: int = 768,
) -> go.Figure:
    """Layer × neuron maps of influence: one panel per entry of `what`, with linked zoom.

    If a layer has more neurons than `columns`, neighbouring neurons share a cell, which shows the
    signed value of largest magnitude; a single strong neuron is thus never averaged away. The hover
    text names that neuron and the range of neurons that the cell covers.

    Args:
        neurons: A diagnosis, or its table with one row per neuron: `site`, `layer`, `neuron`,
            `before`, `after` and, for mixtures of experts, `expert`.
        site: The site to draw.
        unit: Unit of the influence; by default that of the diagnosis, or nats.
        what: Panels from top to bottom; the difference is after − before.
        columns: Maximum number of cells per layer.

    Raises:
        ValueError: If the site has no rows, a panel is unknown, or a neuron has several rows.
    """
    neurons, unit = table_and_unit(neurons, "neurons", unit)
    table = _rows_of(neurons, site, what)
    layers = np.unique(table["layer"].to_numpy(dtype=int))
    size = int(table["neuron"].max()) + 1
    width = math.ceil(size / columns)
    values = {"before": _grid(table, "before", size), "after": _grid(table, "after", size)}
    values["difference"] = values["after"] - values["before"]
    pooled = {panel: signed_max_pool(values[panel], width) for panel in what}
    limit = _colour_limit(np.concatenate([cells.ravel() for cells, _ in pooled.values()]))

    height = min(max(7 * len(layers), 110), 320)
    plot_height = len(what) * height + (len(what) - 1) * GAP
    figure = make_subplots(
        rows=len(what),
        shared_xaxes=True,
        vertical_spacing=GAP / plot_height if len(what) > 1 else 0,
        subplot_titles=[PANELS[panel] for panel in what],
    )
    for row, (panel, (cells, winners)) in enumerate(pooled.items(), start=1):
        names = _named(table, winners, width, size)
        trace = _panel(cells, names, layers, width, _hover(table, width, unit))
        figure.add_trace(trace.update(name=panel), row=row, col=1)
    figure.update_layout(
        common_layout(
            f"Influence at {site}",
            _subtitle(values["before"].shape, width, limit, unit),
            plot_height=plot_height,
            below=112,
        ),
        coloraxis=_colour_axis(limit, unit, plot_height),
    )
    return _set_axes(figure, values["before"].shape, len(what))


def signed_max_pool(
    values: Float[np.ndarray, "layer neuron"], width: int
) -> tuple[Float[np.ndarray, "layer cell"], Int[np.ndarray, "layer cell"]]:
    """The signed entry of largest magnitude among every `width` neighbours, and its column.

    Ties go to the first entry; missing entries (NaN) lose against all others. The last cell may
    cover fewer neighbours.
    """
    layers, size = values.shape
    cells = math.ceil(size / width)
    padded = np.full((layers, cells * width), np.nan)
    padded[:, :size] = values
    padded = padded.reshape(layers, cells, width)
    place = np.where(np.isnan(padded), -1.0, np.abs(padded)).argmax(axis=-1)
    winners = np.take_along_axis(padded, place[..., None], axis=-1)[..., 0]
    return winners, place + width * np.arange(cells)


def _rows_of(neurons: pd.DataFrame, site: str, what: Sequence[str]) -> pd.DataFrame:
    """The rows of one site.

    Raises:
        ValueError: If they cannot be drawn.
    """
    table = neurons.loc[neurons["site"] == site]
    if table.empty:
        present = ", ".join(sorted(neurons["site"].unique()))
        raise ValueError(f"No neurons at {site!r}: the table has neurons at {present}.")
    if not what or not set(what) <= set(PANELS):
        raise ValueError(f"Expected panels from {', '.join(PANELS)}, got {tuple(what)}.")
    twice = table.duplicated(subset=["layer", "neuron"])
    if twice.any():
        layer, neuron = table.loc[twice, ["layer", "neuron"]].iloc[0]
        raise ValueError(f"Expected one row per neuron, got two at layer {layer}, neuron {neuron}.")
    return table


def _grid(table: pd.DataFrame, column: str, size: int) -> Float[np.ndarray, "layer neuron"]:
    """One column as a matrix, with NaN for neurons that are not in the table."""
    layers, rows = np.unique(table["layer"].to_numpy(dtype=int), return_inverse=True)
    grid = np.full((len(layers), size), np.nan)
    grid[rows, table["neuron"].to_numpy(dtype=int)] = table[column]
    return grid


def _named(
    table: pd.DataFrame, winners: Int[np.ndarray, "layer cell"], width: int, size: int
) -> Int[np.ndarray, "layer cell name"]:
    """Numbers for the hover text of each cell: winner, first and last neuron [, expert, index]."""
    first = np.broadcast_to(width * np.arange(winners.shape[1]), winners.shape)
    names = [winners, first, np.minimum(first + width, size) - 1]
    if "expert" in table.columns:
        for numbers in expert_places(table):
            grid = _grid(table.assign(number=numbers), "number", size)
            names.append(np.take_along_axis(np.nan_to_num(grid, nan=-1), winners, axis=1))
    return np.stack(names, axis=-1).astype(np.int64)


def _panel(
    cells: Float[np.ndarray, "layer cell"],
    names: Int[np.ndarray, "layer cell name"],
    layers: Int[np.ndarray, " layer"],
    width: int,
    hover: str,
) -> go.Heatmap:
    """One map, with each cell centred on the neurons it covers."""
    return go.Heatmap(
        z=cells.astype(np.float32),
        x0=(width - 1) / 2,
        dx=width,
        y=layers.astype(str),
        customdata=names,
        hovertemplate=hover,
        coloraxis="coloraxis",
    )


def _hover(table: pd.DataFrame, width: int, unit: str) -> str:
    """The hover text template of a cell."""
    lines = ["layer %{y}, neuron %{customdata[0]}: <b>%{z:.3~g}</b> " + unit]
    if "expert" in table.columns:
        lines.append("expert %{customdata[3]}, index %{customdata[4]}")
    if width > 1:
        lines.append("largest of neurons %{customdata[1]} to %{customdata[2]}")
    return "<br>".join(lines) + "<extra>%{fullData.name}</extra>"


def _colour_limit(cells: Float[np.ndarray, " cell"]) -> float:
    """The end of the colour scale: a high quantile, so that outliers do not wash out the rest."""
    magnitude = np.abs(cells[~np.isnan(cells)])
    if not len(magnitude):
        return 1.0
    limit = float(np.quantile(magnitude, COLOUR_QUANTILE)) or float(magnitude.max())
    return limit or 1.0


def _subtitle(shape: tuple[int, ...], width: int, limit: float, unit: str) -> str:
    """The size of the map, its pooling, and its colour scale."""
    cell = "One cell per neuron."
    if width > 1:
        cell = (
            f"Each cell shows the signed value of largest magnitude among {width} neighbouring "
            "neurons, chosen separately in each panel."
        )
    return (
        f"{shape[0]} layers × {shape[1]:,} neurons. {cell} The colour scale is clipped at "
        f"±{limit:.2g} {unit}, the {100 * COLOUR_QUANTILE:.0f} % quantile of the magnitudes."
    )


def _colour_axis(limit: float, unit: str, plot_height: int) -> dict[str, Any]:
    """One colour scale for all panels, centred at zero."""
    ends = (-limit, 0.0, limit)
    return {
        "colorscale": DIVERGING,
        "cmin": -limit,
        "cmax": limit,
        "colorbar": colour_bar(f"influence ({unit})", ends, x=0.5, length=0.6, y=-52 / plot_height),
    }


def _set_axes(figure: go.Figure, shape: tuple[int, ...], panels: int) -> go.Figure:
    """Link the axes of all panels, and align the panel titles to the left."""
    layers, size = shape
    figure.update_xaxes(range=[-0.5, size - 0.5], matches="x", showgrid=False)
    figure.update_xaxes(title_text="neuron", row=panels, col=1)
    figure.update_yaxes(
        title_text="layer",
        type="category",
        range=[-0.5, layers - 0.5],
        matches="y",
        showgrid=False,
    )
    figure.update_annotations(x=0, xanchor="left", yanchor="bottom", font_size=13)
    return figure
