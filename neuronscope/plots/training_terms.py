"""Loss terms, gradient norms and the cosine between the gradients, by training step."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._look import AFTER, BEFORE, HIDDEN, INK, MUTED, REMAINDER, common_layout

TERM = "loss_"
"""Prefix of the columns that hold a term of the objective."""

COLOURS = (HIDDEN, BEFORE, REMAINDER, AFTER)

PENALIZED = ", the norm of the scaled penalty's gradient, and the cosine between the two gradients"
"""The end of the subtitle for a run with a regularizer."""


def training_terms(history: pd.DataFrame) -> go.Figure:
    """Terms of the loss, norms of both gradients, and the cosine between them, by step.

    Args:
        history: The history of a run: `step`, the objective's terms `loss_<term>`, the norm of its
            gradient `gradient_norm`; and, for a run with a regularizer, the norm of the scaled
            penalty's gradient `penalty_norm`, and the `cosine` between the two gradients.
    """
    rows = history.loc[history["gradient_norm"].notna()]
    penalized = "penalty_norm" in rows and rows["penalty_norm"].fillna(0).gt(0).any()
    panels = 3 if penalized else 2
    figure = make_subplots(rows=panels, shared_xaxes=True, vertical_spacing=0.06)
    terms = [column for column in map(str, rows.columns) if column.startswith(TERM)]
    for number, term in enumerate(terms):
        name = term.removeprefix(TERM).replace("_", " ")
        _add(figure, rows, term, f"term: {name}", COLOURS[number % len(COLOURS)], row=1)
    _add(figure, rows, "gradient_norm", "objective's gradient", INK, row=2)
    if penalized:
        _add(
            figure,
            rows,
            "penalty_norm",
            "penalty's gradient, scaled by λ",
            AFTER,
            row=2,
            dash="dash",
        )
        _add(figure, rows, "cosine", "cosine between them", MUTED, row=3)
        figure.update_yaxes(title_text="cosine", range=[-1.05, 1.05], row=3, col=1)
    subtitle = (
        "The terms of the objective, weighted as in the loss; the norm of its gradient before "
        "clipping"
        f"{PENALIZED if penalized else ''}."
    )
    figure.update_layout(common_layout("Training", subtitle, plot_height=170 * panels, above=56))
    figure.update_yaxes(title_text="loss", row=1, col=1)
    figure.update_yaxes(title_text="norm", type="log", exponentformat="power", row=2, col=1)
    figure.update_xaxes(title_text="step", row=panels, col=1)
    return figure


def _add(
    figure: go.Figure,
    rows: pd.DataFrame,
    column: str,
    name: str,
    colour: str,
    *,
    row: int,
    dash: str = "solid",
) -> None:
    """Draw one column as a line, without norms of 0, which a logarithmic axis cannot show."""
    drawn = rows[column].where(rows[column] > 0) if row == 2 else rows[column]
    figure.add_scatter(
        x=rows["step"],
        y=drawn,
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 5},
        hovertemplate=f"step %{{x}}: %{{y:.4~g}}<extra>{name}</extra>",
        row=row,
        col=1,
    )
