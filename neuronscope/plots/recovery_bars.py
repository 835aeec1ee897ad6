"""The most that each attack brought back, beside the level before it and beside controls."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._attacked import of_split, panels, with_lines
from neuronscope.plots._columns import require
from neuronscope.plots._look import INK, MUTED, PAPER, common_layout, legend_below
from neuronscope.plots._names import wrapped
from neuronscope.plots._series import Series, series_of, whiskers
from neuronscope.results.attack_table import REST

COLUMNS = (
    "attack", "model", "variant", "split", "n", "before", "before_correct",
    "maximum", "maximum_correct", "maximum_low", "maximum_high", "learnt", "reading",
)  # fmt: skip

BAR = 30
GAP = 46
"""Height of a bar with its room, and between two panels, in pixels."""

LABEL = 28
"""Characters in a line of a bar's label: a bar is as high as two lines."""

COUNTS = 1.03
WIDEST = 1.3
"""Where the counts stand on the axis of shares, and where the axis ends."""


def recovery_bars(recovery: pd.DataFrame) -> go.Figure:
    """Most forgotten facts answered during each attack, of those that it does not teach.

    A panel per attack, a bar per method; hollow bars are controls, attacked likewise. Whiskers are
    95 % Wilson intervals, the upright mark is the level before the attack, and the count stands at
    the right, a mean over seeds. A star says that not all facts which the attack taught were
    learnt: a longer attack may bring back more.

    Args:
        recovery: Of one attack or several, of which the rows of split `rest` are drawn: `attack`,
            `model` (`attacked checkpoint`, or a control's name), `variant`, `split`, `n`, `before`,
            `before_correct`, `maximum`, `maximum_correct`, `maximum_low`, `maximum_high`, `learnt`,
            `reading`; and `method` if there are several.

    Raises:
        ValueError: If columns are missing, nothing is of split `rest`, or rows are not told apart.
    """
    require(recovery, COLUMNS, "recovery under attacks")
    rest = of_split(recovery, REST, "recovery under attacks")
    lines = with_lines(rest, ["attack", "variant"])
    series = series_of(lines)
    drawn = panels(lines)
    height = len(lines) * BAR + (len(drawn) - 1) * GAP
    figure = make_subplots(
        rows=len(drawn),
        shared_xaxes=True,
        # One panel alone may be lower than a gap.
        vertical_spacing=min(GAP / height, 1.0),
        row_heights=[len(panel) for _, panel in drawn],
        subplot_titles=[title for title, _ in drawn],
    )
    figure.update_annotations(font_size=13)
    for row, (_, panel) in enumerate(drawn, start=1):
        for trace in (_bars(panel, series), _before(panel, named=row == 1), _counts(panel)):
            figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(
            tickvals=list(range(len(panel))),
            ticktext=[wrapped(name, LABEL) for name in panel["line"]],
            range=[len(panel) - 0.5, -0.5],
            showgrid=False,
            row=row,
            col=1,
        )
    names = ["before the attack"]
    if lines["control"].any():
        figure.add_trace(_control_key(), row=1, col=1)
        names.append("control")
    legend, below = legend_below(names, height)
    figure.update_layout(
        common_layout(
            "Most recovered", _subtitle(lines), plot_height=height, above=42, below=below
        ),
        legend=legend,
        bargap=0.35,
    )
    figure.update_xaxes(tickformat=".0%", range=[0, WIDEST], tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_xaxes(title_text="facts answered at most during the attack", row=len(drawn))
    return figure


def _subtitle(lines: pd.DataFrame) -> str:
    text = (
        "Forgotten facts that the attack does not teach, answered at its best step and learning "
        "rate. Whiskers: 95\u00a0% Wilson intervals."
    )
    if lines["learnt"].eq(False).any():
        text += " *: not all taught facts were learnt, so that a longer attack may bring back more."
    return text


def _bars(panel: pd.DataFrame, series: dict[str, Series]) -> go.Bar:
    """One attack's maxima."""
    looks = [series[line] for line in panel["line"]]
    numbers = ["maximum_correct", "n", "maximum_low", "maximum_high", "before_correct"]
    said = panel["reading"].fillna("").map(lambda reading: f"<br>{wrapped(str(reading), 60)}")
    return go.Bar(
        orientation="h",
        x=panel["maximum"],
        y=list(range(len(panel))),
        text=[look.name for look in looks],
        textposition="none",
        showlegend=False,
        marker={
            "color": [PAPER if look.control else look.colour for look in looks],
            "line": {"color": [look.colour for look in looks], "width": 1.5},
        },
        error_x=whiskers(panel["maximum"], panel["maximum_low"], panel["maximum_high"], INK),
        customdata=panel[numbers].assign(reading=said),
        hovertemplate="%{text}: %{customdata[0]:.3~g} of %{customdata[1]:.3~g} answers at most, "
        "%{x:.0%} [%{customdata[2]:.0%}, %{customdata[3]:.0%}]; %{customdata[4]:.3~g} before"
        "%{customdata[5]}<extra></extra>",
    )


def _before(panel: pd.DataFrame, *, named: bool) -> go.Scatter:
    """The level before the attack, on each bar."""
    return go.Scatter(
        x=panel["before"],
        y=list(range(len(panel))),
        mode="markers",
        name="before the attack",
        legendgroup="before",
        showlegend=named,
        marker={"symbol": "line-ns", "size": 20, "line": {"color": INK, "width": 2}},
        hoverinfo="skip",
    )


def _counts(panel: pd.DataFrame) -> go.Scatter:
    """How many answers of how many, beside each bar."""
    stars = panel["learnt"].eq(False).map({True: " *", False: ""})
    counts = zip(panel["maximum_correct"], panel["n"], stars, strict=True)
    return go.Scatter(
        x=[COUNTS] * len(panel),
        y=list(range(len(panel))),
        mode="text",
        text=[f"{correct:.3g}/{n:.3g}{star}" for correct, n, star in counts],
        textposition="middle right",
        textfont={"color": MUTED, "size": 11},
        showlegend=False,
        hoverinfo="skip",
    )


def _control_key() -> go.Scatter:
    """The legend's entry for hollow bars."""
    marker = {"symbol": "square-open", "size": 11, "color": INK}
    return go.Scatter(x=[None], y=[None], mode="markers", name="control", marker=marker)
