"""Contribution of each module's and layer's weight change to the drop."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from neuronscope.plots._look import AFTER, BEFORE, CENTRE, MUTED, colour_bar, common_layout

MODULES = (
    "mlp.gate",
    "mlp.up",
    "mlp.down",
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.o",
    "norm",
    "bias",
    "other",
    "embedding",
    "unembedding",
)
"""Modules in the order in which they are drawn; others follow alphabetically."""

OUTSIDE = -1
"""The layer number of modules outside all layers."""

ROW = 24
"""Height of a module's row, in pixels."""

PROFILE = 64
"""Height of the bars above the map, in pixels."""

GAP = 10
"""Gap between the map and the bars, in pixels."""

LABELS = 6
"""Maximum number of labelled layers on a narrow page."""


def weight_map(modules: pd.DataFrame) -> go.Figure:
    """Module × layer map of the share of the drop due to each module's weight change.

    The shares add up to 1. The bars above the map are sums over modules, those to its right sums
    over layers. Modules outside all layers (embeddings, the final norm) have a separate column. A
    negative share means that the change worked against forgetting.

    Args:
        modules: The table of a weight path: `module`, `layer` (-1: outside all layers) and
            `contribution`, in the unit of the score.
    """
    total = float(modules["contribution"].sum())
    # Without a net change of the score, shares are undefined; draw contributions.
    table = modules.assign(share=modules["contribution"].to_numpy(dtype=float) / (total or 1.0))
    rows, columns = _modules(table), _layers(table)
    edges = _edges(columns)
    height = ROW * len(rows)
    figure = make_subplots(
        rows=2,
        cols=2,
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=GAP / (PROFILE + GAP + height),
        row_heights=[PROFILE, height],
        column_widths=[0.74, 0.26],
        specs=[[{}, None], [{}, {}]],
    )
    figure.add_trace(_map(table, rows, columns, edges), row=2, col=1)
    figure.add_trace(_by_layer(table, columns, edges), row=1, col=1)
    figure.add_trace(_by_module(table, rows), row=2, col=2)
    outside = (
        " The column “outside” holds modules outside all layers." if OUTSIDE in columns else ""
    )
    figure.update_layout(
        common_layout(
            "Contributions to the drop",
            f"Share of the drop due to the weight change of each module and layer: {len(rows)} "
            f"modules × {len(columns) - (OUTSIDE in columns)} layers. Bars: sums over modules "
            f"(top) and over layers (right).{outside}",
            plot_height=PROFILE + GAP + height,
            above=12,
            below=104,
        ),
        coloraxis=_colour_axis(float(np.abs(table["share"]).max()) or 1.0, height),
        bargap=0.15,
        showlegend=False,
    )
    return _set_axes(figure, table, rows, columns, edges)


def _modules(table: pd.DataFrame) -> list[str]:
    """The rows, from top to bottom."""
    present = table["module"].unique().tolist()
    return [name for name in MODULES if name in present] + sorted(set(present) - set(MODULES))


def _layers(table: pd.DataFrame) -> list[int]:
    """The columns, from left to right: all layers, then the one outside them."""
    present = sorted(table["layer"].unique().tolist())
    return [layer for layer in present if layer != OUTSIDE] + [OUTSIDE] * (OUTSIDE in present)


def _edges(columns: Sequence[int]) -> Float[np.ndarray, " edge"]:
    """The edges of the columns; the one outside all layers is set apart and wide enough to see."""
    layers = len(columns) - (OUTSIDE in columns)
    edges = np.arange(layers + 1) - 0.5
    if OUTSIDE not in columns:
        return edges
    return np.append(edges, edges[-1] + np.array([0.015, 0.085]) * max(layers, 8))


def _name(layer: int) -> str:
    return "outside all layers" if layer == OUTSIDE else f"layer {layer}"


def _map(
    table: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[int],
    edges: Float[np.ndarray, " edge"],
) -> go.Heatmap:
    """The map of shares; cells are empty where a layer lacks the module."""
    grid = table.pivot_table(index="module", columns="layer", values="share", aggfunc="sum")
    shares = grid.reindex(index=list(rows), columns=list(columns)).to_numpy(dtype=float)
    names = [[_name(layer) for layer in columns]] * len(rows)
    if OUTSIDE in columns:
        # An empty column separates the layers from what lies outside them.
        shares = np.insert(shares, -1, np.nan, axis=1)
        names = [[*row[:-1], "", row[-1]] for row in names]
    return go.Heatmap(
        name="share",
        x=edges,
        y=list(rows),
        z=shares,
        text=names,
        coloraxis="coloraxis",
        hoverongaps=False,
        hovertemplate="%{y}, %{text}: <b>%{z:.2%}</b> of the drop<extra></extra>",
    )


def _by_layer(
    table: pd.DataFrame, columns: Sequence[int], edges: Float[np.ndarray, " edge"]
) -> go.Bar:
    """Sums over modules."""
    sums = _sums(table, "layer", columns)
    places = _centres(columns, edges)
    widths = np.full(len(columns), 0.8)
    if OUTSIDE in columns:
        widths[-1] = edges[-1] - edges[-2]
    return go.Bar(
        name="layers",
        x=places,
        y=sums,
        width=widths,
        marker={"color": _by_sign(sums), "line": {"width": 0}},
        hovertext=[_name(layer) for layer in columns],
        hovertemplate="%{hovertext}: <b>%{y:.2%}</b> of the drop<extra></extra>",
    )


def _by_module(table: pd.DataFrame, rows: Sequence[str]) -> go.Bar:
    """Sums over layers, labelled with their values."""
    sums = _sums(table, "module", rows)
    return go.Bar(
        name="modules",
        orientation="h",
        x=sums,
        y=list(rows),
        marker={"color": _by_sign(sums), "line": {"width": 0}},
        text=[_percent(share) for share in sums],
        textposition="outside",
        textfont={"color": MUTED, "size": 11},
        cliponaxis=False,
        hovertemplate="%{y}: <b>%{x:.2%}</b> of the drop<extra></extra>",
    )


def _centres(
    columns: Sequence[int], edges: Float[np.ndarray, " edge"]
) -> Float[np.ndarray, " column"]:
    places = np.arange(len(columns), dtype=float)
    if OUTSIDE in columns:
        places[-1] = edges[-2:].mean()
    return places


def _sums(
    table: pd.DataFrame, column: str, parts: Sequence[str] | Sequence[int]
) -> Float[np.ndarray, " part"]:
    """Sums of the shares over the rows of each value of a column."""
    names, shares = table[column].to_numpy(), table["share"].to_numpy(dtype=float)
    return np.array([shares[names == part].sum() for part in parts])


def _by_sign(shares: Float[np.ndarray, " part"]) -> list[str]:
    return [AFTER if share >= 0 else BEFORE for share in shares]


def _percent(share: float) -> str:
    digits = 0 if abs(share) >= 0.0995 else 1
    return f"{100 * share:.{digits}f} %".replace("-", "−")


def _colour_axis(limit: float, height: int) -> dict[str, Any]:
    """The colour scale of the map, centred at zero."""
    # Below the layer labels, whatever the height of the map.
    below = -44 / (PROFILE + GAP + height)
    bar = colour_bar("share of the drop", (-limit, 0.0, limit), x=0.37, length=0.5, y=below)
    return {
        "colorscale": [BEFORE, CENTRE, AFTER],
        "cmin": -limit,
        "cmax": limit,
        "colorbar": bar | {"tickformat": ".1~%"},
    }


def _set_axes(
    figure: go.Figure,
    table: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[int],
    edges: Float[np.ndarray, " edge"],
) -> go.Figure:
    """Label layers and modules; show shares in percent."""
    layers = [layer for layer in columns if layer != OUTSIDE]
    step = next(
        n for n in (1, 2, 5, 10, 20, 50, len(layers)) if math.ceil(len(layers) / n) <= LABELS
    )
    ticks, names = list(range(0, len(layers), step)), [str(layer) for layer in layers[::step]]
    if OUTSIDE in columns:
        ticks, names = [*ticks, float(edges[-2:].mean())], [*names, "outside"]
    figure.update_xaxes(showgrid=False, zeroline=False, range=[edges[0], edges[-1]], col=1)
    figure.update_xaxes(
        tickvals=ticks, ticktext=names, tickangle=0, title_text="layer", row=2, col=1
    )
    figure.update_xaxes(ticks="", row=1, col=1)
    figure.update_yaxes(nticks=3, tickformat=".0%", row=1, col=1)
    figure.update_yaxes(
        type="category", range=[len(rows) - 0.5, -0.5], showgrid=False, ticks="", row=2
    )
    least, most = (
        float(end(_sums(table, "module", rows), initial=0.0)) for end in (np.min, np.max)
    )
    # Space for the values next to the bars.
    room = 0.5 * (most - least) or 1.0
    figure.update_xaxes(
        range=[least - room if least < 0 else 0.0, most + room],
        showticklabels=False,
        ticks="",
        showgrid=False,
        row=2,
        col=2,
    )
    return figure
