"""Layer × module maps of influence variation (arXiv 2509.22263, Fig. 5)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.models.sites import SITES
from neuronscope.plots._diagnosed import Diagnosed, table_and_unit
from neuronscope.plots._look import MUTED, RISING, SINKING, VOID, colour_bar, common_layout

PANELS = {
    "d_plus": ("D⁺ (lost)", RISING),
    "d_minus": ("D⁻ (gained)", SINKING),
}


def module_map(modules: Diagnosed, unit: str | None = None) -> go.Figure:
    """Two layer × module maps: mean of the hundred largest D⁺ and D⁻ of each module.

    D⁺ is positive influence lost, D⁻ negative influence gained. Both panels share one scale, so
    that their colours are comparable. Modules that were not recorded are greyed out and listed.

    Args:
        modules: A diagnosis, or its table with `site`, `layer`, `d_plus`, `d_minus`.
        unit: Unit of the influence; by default that of the diagnosis, or nats.
    """
    modules, unit = table_and_unit(modules, "modules", unit)
    layers = np.unique(modules["layer"].to_numpy(dtype=int))
    missing = [site for site in SITES if site not in set(modules["site"])]
    plot_height = min(max(11 * len(layers), 160), 480)
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.05,
        subplot_titles=[title for title, _ in PANELS.values()],
    )
    figure.update_annotations(font_size=13)
    for col, column in enumerate(PANELS, start=1):
        figure.add_trace(_panel(modules, column, f"coloraxis{col}", unit), row=1, col=col)
        for site in missing:
            _grey_out(figure, SITES.index(site), len(layers), col)
    subtitle = (
        "Positive influence lost (D⁺) and negative influence gained (D⁻): mean of the hundred "
        "largest values in each module and layer. Both panels share one scale. "
        + (f"Not recorded: {', '.join(missing)}." if missing else "All modules were recorded.")
    )
    figure.update_layout(
        common_layout("Influence variation by module", subtitle, plot_height=plot_height, below=140)
    )
    limit = float(modules[["d_plus", "d_minus"]].max().max()) or 1.0
    for col, (name, scale) in enumerate(PANELS.values(), start=1):
        bar = colour_bar(
            f"{name[:2]} ({unit})",
            (0.0, limit),
            x=0.24 + 0.52 * (col - 1),
            length=0.4,
            y=-84 / plot_height,
        )
        axis = {"colorscale": scale, "cmin": 0, "cmax": limit, "colorbar": bar}
        figure.update_layout({f"coloraxis{col}": axis})
    figure.update_xaxes(tickangle=-60, showgrid=False, range=[-0.5, len(SITES) - 0.5])
    figure.update_yaxes(type="category", range=[-0.5, len(layers) - 0.5], showgrid=False)
    figure.update_yaxes(title_text="layer", col=1)
    return figure


def _panel(modules: pd.DataFrame, column: str, coloraxis: str, unit: str) -> go.Heatmap:
    """One map, with modules in a fixed order; cells without a recording are empty."""
    grid = modules.pivot(index="layer", columns="site", values=column).sort_index()
    return go.Heatmap(
        name=column,
        x=list(SITES),
        y=grid.index.astype(str),
        z=grid.reindex(columns=list(SITES)).to_numpy(dtype=float),
        coloraxis=coloraxis,
        xgap=2,
        hoverongaps=False,
        hovertemplate="%{x}, layer %{y}: %{z:.3~g} " + unit + f"<extra>{PANELS[column][0]}</extra>",
    )


def _grey_out(figure: go.Figure, place: int, layers: int, col: int) -> None:
    """Grey out the column of a module that was not recorded."""
    figure.add_shape(
        type="rect",
        x0=place - 0.45,
        x1=place + 0.45,
        y0=-0.5,
        y1=layers - 0.5,
        fillcolor=VOID,
        line_width=0,
        layer="below",
        row=1,
        col=col,
    )
    figure.add_annotation(
        x=place,
        y=(layers - 1) / 2,
        text="not recorded",
        textangle=-90,
        font={"color": MUTED, "size": 11},
        row=1,
        col=col,
    )
