"""How many answers are still given, step by step, and how likely they are."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._look import BEFORE, HIDDEN, MUTED, common_layout

SPLITS = {
    "forget": ("to be forgotten", HIDDEN, "circle"),
    "retain": ("to be kept", BEFORE, "diamond"),
}

PANELS = (0.6, 0.4)
"""Shares of the height: answers, log-odds."""


def unlearning_curve(history: pd.DataFrame) -> go.Figure:
    """Answers that greedy decoding still gives, and the forgotten ones' mean log-odds, by step.

    Args:
        history: A run's, of which the rows with an evaluation are drawn: `step`, for `forget` and
            `retain` the numbers `asked_<split>` and `answered_<split>` and the share
            `answered_<split>_rate`, and `log_odds_forget` (nats per token).
    """
    looks = history.loc[history["answered_forget"].notna()]
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=0.08, row_heights=PANELS)
    asked = []
    for split, (name, colour, symbol) in SPLITS.items():
        if f"answered_{split}" not in looks or looks[f"answered_{split}"].isna().all():
            continue
        total = int(looks[f"asked_{split}"].iloc[0])
        asked.append(f"{total} {name}")
        figure.add_scatter(
            x=looks["step"],
            y=looks[f"answered_{split}_rate"],
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 2},
            marker={"symbol": symbol, "size": 8},
            customdata=looks[f"answered_{split}"],
            hovertemplate=f"step %{{x}}: %{{customdata}} of {total}<extra>{name}</extra>",
            row=1,
            col=1,
        )
    figure.add_scatter(
        x=looks["step"],
        y=looks["log_odds_forget"],
        mode="lines+markers",
        showlegend=False,
        line={"color": HIDDEN, "width": 2},
        marker={"symbol": "circle", "size": 8},
        hovertemplate="step %{x}: %{y:.2f} nats<extra>to be forgotten</extra>",
        row=2,
        col=1,
    )
    even = {"color": MUTED, "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=0, x1=1, xref="x2 domain", y0=0, y1=0, yref="y2", line=even)
    subtitle = (
        f"Share of answers that greedy decoding still gives: of facts {' and '.join(asked)}. "
        "Below, the mean log-odds of the answers to be forgotten; dotted: right and wrong are even."
    )
    figure.update_layout(common_layout("Unlearning", subtitle, plot_height=380))
    figure.update_yaxes(
        title_text="answers given", tickformat=".0%", range=[-0.04, 1.04], row=1, col=1
    )
    figure.update_yaxes(title_text="log-odds (nats per token)", row=2, col=1)
    figure.update_xaxes(title_text="step", row=2, col=1)
    return figure
