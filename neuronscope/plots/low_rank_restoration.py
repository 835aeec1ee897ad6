"""Answers recovered by undoing the weight change: by rank, and by linear interpolation."""

from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._look import (
    BEFORE,
    ERASED,
    HIDDEN,
    INK,
    MUTED,
    REMAINDER,
    common_layout,
)
from neuronscope.results.findings import ITSELF

NOTHING = 0.5
"""Position of rank 0 on the logarithmic axis."""

OTHERS = (ERASED, REMAINDER, BEFORE)
"""Colours of the splits other than the forget set."""

NAMES = {"rank": "rank", "alpha": "α"}
"""Names of the axes in hover texts."""


def low_rank_restoration(ranks: pd.DataFrame, interpolation: pd.DataFrame) -> go.Figure:
    """Share of answers given, by restored rank (top) and by interpolation coefficient α (below).

    Bands (95 % Wilson intervals) are drawn for the forgotten facts, with the change's own
    directions and with the best draw of random ones. The facts of other splits, restricted to those
    answered before unlearning, show damage.

    Args:
        ranks: `control` (-1, or the number of the random draw), `rank` (from 0 to full rank),
            `energy`, and `split`, `target`, `answered`, `total`, `share`, `share_low`,
            `share_high`.
        interpolation: The linear interpolation: `alpha`, and the same columns from `split` on.
    """
    own, random = ranks.loc[ranks["control"] == ITSELF, :], ranks.loc[ranks["control"] != ITSELF, :]
    figure = make_subplots(rows=2, vertical_spacing=0.17)
    others = [name for name in own["split"].unique() if name != "forget"]
    for split, colour in zip(others, OTHERS, strict=False):
        _draw(figure, own, interpolation, split, Line(f"{split}, answered before", colour, 1.5))
    drawn = random.loc[random["split"] == "forget", :]
    if len(drawn):
        best = drawn.loc[drawn.groupby("rank")["share"].idxmax(), :]
        name = f"forgotten facts, random directions (best of {drawn['control'].nunique()})"
        line = Line(name, MUTED, 1.5, "dot")
        figure.add_traces([_band(best, "rank", line), _line(best, "rank", line)], 1, 1)
    _draw(figure, own, interpolation, "forget", Line("forgotten facts", HIDDEN, 3.0), band=True)
    figure.update_layout(
        common_layout("Low-rank restoration", _subtitle(own), plot_height=540, above=56),
        legend_traceorder="reversed",
    )
    _axes(figure, own)
    return figure


@dataclass(frozen=True)
class Line:
    """Name and appearance of a line."""

    name: str
    colour: str
    width: float
    dash: str = "solid"


def _draw(
    figure: go.Figure,
    own: pd.DataFrame,
    interpolation: pd.DataFrame,
    split: str,
    line: Line,
    *,
    band: bool = False,
) -> None:
    """Draw one split in both panels."""
    for row, (table, column) in enumerate(((own, "rank"), (interpolation, "alpha")), start=1):
        facts = table.loc[table["split"] == split, :]
        if band:
            figure.add_trace(_band(facts, column, line), row, 1)
        figure.add_trace(_line(facts, column, line), row, 1)


def _subtitle(own: pd.DataFrame) -> str:
    forgotten = own.loc[own["split"] == "forget", "total"].iloc[0]
    return (
        "Answers given after undoing the leading singular directions of each matrix's change (top; "
        "embeddings, norms and biases stay unchanged), or a share α of the whole change (below). "
        f"{forgotten} forgotten facts. Bands: 95\u00a0% Wilson intervals."
    )


def _places(table: pd.DataFrame, column: str) -> pd.Series:
    return table[column].replace(0, NOTHING) if column == "rank" else table[column]


def _line(table: pd.DataFrame, column: str, line: Line) -> go.Scatter:
    return go.Scatter(
        x=_places(table, column),
        y=table["share"],
        mode="lines+markers",
        name=line.name,
        legendgroup=line.name,
        showlegend=column == "rank",
        line={"color": line.colour, "width": line.width, "dash": line.dash},
        marker={"size": 4 + line.width},
        customdata=table[[column, "answered", "total", "target"]],
        hovertemplate=NAMES[column] + " %{customdata[0]}: %{customdata[1]} of %{customdata[2]} "
        "facts answered, target %{customdata[3]:.3~g}<extra>" + line.name + "</extra>",
    )


def _band(table: pd.DataFrame, column: str, line: Line) -> go.Scatter:
    x = _places(table, column)
    red, green, blue = (int(line.colour[at : at + 2], 16) for at in (1, 3, 5))
    return go.Scatter(
        x=[*x, *x[::-1]],
        y=[*table["share_high"], *table["share_low"][::-1]],
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.15)",
        line_width=0,
        mode="lines",
        name=f"{line.name}, 95 % interval",
        legendgroup=line.name,
        showlegend=False,
        hoverinfo="skip",
    )


def _axes(figure: go.Figure, own: pd.DataFrame) -> None:
    ranks = sorted(own["rank"].unique())
    figure.update_xaxes(
        type="log",
        tickvals=[rank or NOTHING for rank in ranks],
        ticktext=[*map(str, ranks[:-1]), f"all ({ranks[-1]})"],
        title_text="rank restored in each matrix",
        row=1,
        col=1,
    )
    figure.update_xaxes(
        title_text="α, from the unlearned (0) to the original model (1)", row=2, col=1
    )
    figure.update_yaxes(
        title_text="facts answered", tickformat=".0%", range=[-0.03, 1.03], dtick=0.25
    )
    figure.add_hline(y=0.5, line={"color": INK, "width": 1, "dash": "dot"}, opacity=0.4)
