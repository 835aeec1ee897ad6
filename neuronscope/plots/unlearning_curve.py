"""Share of facts still answered and log-odds of the forget set, by training step."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._look import BEFORE, HIDDEN, MUTED, common_layout

SPLITS = {
    "forget": ("forget set", HIDDEN, "circle"),
    "retain": ("retain set", BEFORE, "diamond"),
}

PANELS = (0.6, 0.4)
"""Relative heights of the panels: answers, log-odds."""


def unlearning_curve(history: pd.DataFrame) -> go.Figure:
    """Share of facts answered with greedy decoding, and mean log-odds of the forget set, by step.

    Args:
        history: The history of a run: `step`, for `forget` and `retain` the numbers `asked_<split>`
            and `answered_<split>` and the share `answered_<split>_rate`, and `log_odds_forget`
            (nats per token). Only rows with an evaluation are drawn.
    """
    evaluations = history.loc[history["answered_forget"].notna()]
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.08, row_heights=PANELS)
    counts = []
    for split, (name, colour, symbol) in SPLITS.items():
        if f"answered_{split}" not in evaluations or evaluations[f"answered_{split}"].isna().all():
            continue
        total = int(evaluations[f"asked_{split}"].iloc[0])
        counts.append(f"{name}: {total} facts")
        figure.add_scatter(
            x=evaluations["step"],
            y=evaluations[f"answered_{split}_rate"],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2},
            marker={"symbol": symbol, "size": 8},
            customdata=evaluations[f"answered_{split}"],
            hovertemplate=f"step %{{x}}: %{{customdata}} of {total}<extra>{name}</extra>",
            row=1,
            col=1,
        )
    figure.add_scatter(
        x=evaluations["step"],
        y=evaluations["log_odds_forget"],
        mode="lines+markers",
        showlegend=False,
        line={"color": HIDDEN, "width": 2},
        marker={"symbol": "circle", "size": 8},
        hovertemplate="step %{x}: %{y:.2f} nats<extra>forget set</extra>",
        row=2,
        col=1,
    )
    even = {"color": MUTED, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=0, x1=1, xref="x2 domain", y0=0, y1=0, yref="y2", line=even)
    subtitle = (
        f"Top: share of facts still answered with greedy decoding ({', '.join(counts)}). Below: "
        "mean log-odds of the forget set's answers; dotted: right and wrong answers equally likely."
    )
    figure.update_layout(common_layout("Unlearning", subtitle, plot_height=380))
    figure.update_yaxes(
        title_text="facts answered", tickformat=".0%", range=[-0.04, 1.04], row=1, col=1
    )
    figure.update_yaxes(title_text="log-odds (nats per token)", row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    return figure
