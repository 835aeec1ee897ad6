"""What an answer loses if the states after one layer are replaced (arXiv 2605.24614)."""

import pandas as pd
import plotly.graph_objects as go

from neuronscope.plots._look import AFTER, MUTED, common_layout

AFTER_SOURCE = "after"
"""The source that is the model under judgement; any other is the reference."""


def patched_layers(layers: pd.DataFrame, unit: str = "nats per token") -> go.Figure:
    """Mean loss of the answer's log-probability against the layer, for each source of states.

    The unlearning depth score is the share of the reference's loss that the model after's states
    reach, over the layers in which the reference's loss exceeds the threshold. What the model
    after's states take in earlier layers is something else than the knowledge, which is not there
    yet.

    Args:
        layers: One row per source and layer: `source`, `layer`, `loss`, `low`, `high`, `facts`,
            `threshold`.
        unit: Unit of the loss.
    """
    figure = go.Figure()
    reference = next(name for name in layers["source"].unique() if name != AFTER_SOURCE)
    for source in (reference, AFTER_SOURCE):
        rows = layers.loc[layers["source"] == source].sort_values("layer")
        figure.add_traces(_curve(rows, source, unit))
    threshold = float(layers["threshold"].iloc[0])
    figure.add_hline(y=threshold, line={"color": MUTED, "width": 1, "dash": "dot"}, layer="below")
    subtitle = (
        "What the answers lose in the model before if its states after one layer, where the answer "
        f"is predicted, are those of the model after or of the reference ({reference}). Mean over "
        f"{layers['facts'].iloc[0]} facts, with 95 % bootstrap intervals. Layers count from "
        f"{threshold:g} {unit} of the reference on (dotted): the knowledge is there from then on."
    )
    figure.update_layout(common_layout("Replaced states", subtitle, plot_height=340))
    figure.update_xaxes(title_text="layer")
    figure.update_yaxes(title_text=f"loss ({unit})")
    return figure


def _curve(rows: pd.DataFrame, source: str, unit: str) -> list[go.Scatter]:
    """One source's line and its band."""
    name, colour = (source, AFTER) if source == AFTER_SOURCE else (f"reference: {source}", MUTED)
    band = go.Scatter(
        x=[*rows["layer"], *rows["layer"][::-1]],
        y=[*rows["high"], *rows["low"][::-1]],
        fill="toself",
        fillcolor=colour,
        opacity=0.2,
        line_width=0,
        mode="lines",
        name=f"{name}, 95 % interval",
        legendgroup=source,
        showlegend=False,
        hoverinfo="skip",
    )
    line = go.Scatter(
        x=rows["layer"],
        y=rows["loss"],
        mode="lines",
        name=name,
        legendgroup=source,
        line={
            "color": colour,
            "width": 2.5,
            "dash": "solid" if source == AFTER_SOURCE else "dash",
        },
        customdata=rows[["low", "high"]],
        hovertemplate="layer %{x}: %{y:.3~g} [%{customdata[0]:.3~g}, %{customdata[1]:.3~g}] "
        + unit
        + f"<extra>{name}</extra>",
    )
    return [band, line]
