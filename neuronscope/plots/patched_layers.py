"""Loss of answer log-probability when the states after one layer are patched (arXiv 2605.24614)."""

import pandas as pd
import plotly.graph_objects as go

from neuronscope.plots._look import AFTER, MUTED, common_layout

AFTER_SOURCE = "after"
"""The source name of the unlearned model; any other source is the reference."""


def patched_layers(layers: pd.DataFrame, unit: str = "nats per token") -> go.Figure:
    """Mean loss of the answer's log-probability by patched layer, for each source of states.

    The unlearning depth score is the share of the reference's loss that the unlearned model's
    states reach, over the layers in which the reference's loss exceeds the threshold. Where
    the reference's loss stays below it, the knowledge is not represented, so a loss of the
    unlearned model there is not due to lost knowledge.

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
        "Loss of the answers' log-probability in the original model when its states after one "
        "layer, at the positions that predict the answer, are replaced by those of the unlearned "
        f"model (after) or of the reference ({reference}). Mean over {layers['facts'].iloc[0]} "
        "facts, with 95 % intervals. For each fact, the score uses the layers in which the states "
        f"of the reference cause a loss above {threshold:g} {unit} (dotted), where the knowledge "
        "is represented."
    )
    figure.update_layout(common_layout("Activation patching by layer", subtitle, plot_height=340))
    figure.update_xaxes(title_text="patched layer")
    figure.update_yaxes(title_text=f"loss of log-probability ({unit})")
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
