"""Accuracy with which each layer ranks answers above distractors (arXiv 2509.22263, Fig. 4)."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._look import AFTER, BEFORE, MUTED, common_layout

COLOURS = {"before": BEFORE, "after": AFTER}

PANELS = {"forget": "of the forget set", "other": "outside the forget set"}

SYMBOLS = {
    "still readable": ("circle", 8),
    "consistent with erased": ("diamond-open", 8),
    "never readable": ("circle-open", 5),
    "over-unlearned": ("triangle-down", 9),
}
"""Marker and its size for each label of the unlearned model's layers."""

PANEL = 220
"""Height of a panel, in pixels."""


def lens_accuracy(layers: pd.DataFrame) -> go.Figure:
    """Share of pairs in which the answer beats the distractor, by layer, before and after.

    Each layer's state is decoded as if the layer were the last. Bands are 95 % Wilson intervals
    with facts as the unit; the marker shows the label that the interval supports in the unlearned
    model. Chance level is dotted.

    Args:
        layers: One row per set of facts, model and layer: `facts`, `model`, `layer`, `count`,
            `pairs`, `pairs_low`, `pairs_high`, `pairs_chance`, `label`.
    """
    kinds = [kind for kind in PANELS if (layers["facts"] == kind).any()]
    counts = layers.groupby("facts")["count"].first()
    figure = make_subplots(
        rows=len(kinds),
        shared_xaxes=True,
        vertical_spacing=0.12,
        subplot_titles=[f"{counts[kind]} facts {PANELS[kind]}" for kind in kinds],
    )
    figure.update_annotations(font_size=13)
    for row, kind in enumerate(kinds, start=1):
        panel = layers.loc[layers["facts"] == kind].sort_values("layer")
        rows = {model: panel.loc[panel["model"] == model] for model in COLOURS}
        figure.add_trace(_chance(rows["before"], shown=row == 1), row=row, col=1)
        for model in COLOURS:
            figure.add_traces(_curve(rows[model], model, shown=row == 1), rows=row, cols=1)
        if kind == "forget":
            figure.add_traces(_marks(rows["after"]), rows=row, cols=1)
    subtitle = (
        "Share of (answer, distractor) pairs in which the logit lens after a layer ranks the "
        "answer above the distractor. Bands: 95 % Wilson intervals with facts as the unit; "
        "markers: the conclusion for each layer of the unlearned model."
    )
    height = PANEL * len(kinds)
    figure.update_layout(common_layout("Logit lens", subtitle, plot_height=height, above=90))
    figure.update_layout(legend_y=1 + 24 / height)
    figure.update_yaxes(range=[-0.03, 1.03], tickformat=".0%", title_text="answer above distractor")
    figure.update_xaxes(title_text="layer", row=len(kinds), col=1)
    return figure


def _chance(rows: pd.DataFrame, *, shown: bool) -> go.Scatter:
    return go.Scatter(
        x=rows["layer"],
        y=rows["pairs_chance"],
        mode="lines",
        name="chance",
        legendgroup="chance",
        showlegend=shown,
        line={"color": MUTED, "width": 1.5, "dash": "dot"},
        hoverinfo="skip",
    )


def _curve(rows: pd.DataFrame, model: str, *, shown: bool) -> list[go.Scatter]:
    """One model's line and its band."""
    band = go.Scatter(
        x=[*rows["layer"], *rows["layer"][::-1]],
        y=[*rows["pairs_high"], *rows["pairs_low"][::-1]],
        fill="toself",
        fillcolor=COLOURS[model],
        opacity=0.2,
        line_width=0,
        mode="lines",
        name=f"{model}, 95 % interval",
        legendgroup=model,
        showlegend=False,
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=rows["layer"],
        y=rows["pairs"],
        mode="lines",
        name=model,
        legendgroup=model,
        showlegend=shown,
        line={"color": COLOURS[model], "width": 2.5},
        customdata=rows[["pairs_low", "pairs_high"]],
        hovertemplate="after layer %{x}: %{y:.0%} [%{customdata[0]:.0%}, %{customdata[1]:.0%}]"
        f"<extra>{model}</extra>",
    )
    return [band, line]


def _marks(after: pd.DataFrame) -> list[go.Scatter]:
    """The layers of the unlearned model, marked by their label."""
    marks = []
    for label, (symbol, size) in SYMBOLS.items():
        rows = after.loc[after["label"] == label]
        if len(rows):
            marks.append(
                go.Scatter(
                    x=rows["layer"],
                    y=rows["pairs"],
                    mode="markers",
                    name=label,
                    marker={"symbol": symbol, "size": size, "color": AFTER},
                    hoverinfo="skip",
                )
            )
    return marks
