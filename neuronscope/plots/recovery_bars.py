"""Maximum recovery under each attack, with the level before the attack and with controls."""

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
"""Height of a bar with its margin, and of the gap between two panels, in pixels."""

LABEL = 28
"""Maximum width of a bar's label, in characters; a bar is as high as two lines."""

COUNTS = 1.03
WIDEST = 1.3
"""Position of the counts on the axis of shares, and the end of that axis."""


def recovery_bars(recovery: pd.DataFrame) -> go.Figure:
    """Maximum recovery during each attack.

    Recovery is the share of forgotten facts answered, without those that the attack trains on.
    There is one panel per attack and one bar per method; hollow bars are controls under the same
    attack. Whiskers are 95 % Wilson intervals, the vertical tick marks the level before the attack,
    and the count on the right is a mean over seeds. A star means that the model did not learn all
    the facts that the attack trained on, so a longer attack may recover more.

    Args:
        recovery: Recovery under one or more attacks: `attack`, `model` (`attacked checkpoint` or a
            control's name), `variant`, `split`, `n`, `before`, `before_correct`, `maximum`,
            `maximum_correct`, `maximum_low`, `maximum_high`, `learnt`, `reading`, and `method` if
            there are several. Only rows of split `rest` are drawn.

    Raises:
        ValueError: If columns are missing, no row has split `rest`, or two rows describe the same
            bar.
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
        # A single panel may be lower than a gap.
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
            "Maximum recovery", _subtitle(lines), plot_height=height, above=42, below=below
        ),
        legend=legend,
        bargap=0.35,
    )
    figure.update_xaxes(tickformat=".0%", range=[0, WIDEST], tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_xaxes(title_text="facts answered during the attack (maximum)", row=len(drawn))
    return figure


def _subtitle(lines: pd.DataFrame) -> str:
    text = (
        "Share of forgotten facts answered at the attack's best step and learning rate; the attack "
        "was not trained on these facts. Whiskers: 95\u00a0% Wilson intervals."
    )
    if lines["learnt"].eq(False).any():
        text += " *: not all training facts were learned, so a longer attack may recover more."
    return text


def _bars(panel: pd.DataFrame, series: dict[str, Series]) -> go.Bar:
    """The maxima under one attack."""
    looks = [series[line] for line in panel["line"]]
    numbers = ["maximum_correct", "n", "maximum_low", "maximum_high", "before_correct"]
    readings = panel["reading"].fillna("").map(lambda reading: f"<br>{wrapped(str(reading), 60)}")
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
        customdata=panel[numbers].assign(reading=readings),
        hovertemplate="%{text}: %{customdata[0]:.3~g} of %{customdata[1]:.3~g} facts answered "
        "(maximum), %{x:.0%} [%{customdata[2]:.0%}, %{customdata[3]:.0%}]; %{customdata[4]:.3~g} "
        "before the attack%{customdata[5]}<extra></extra>",
    )


def _before(panel: pd.DataFrame, *, named: bool) -> go.Scatter:
    """The level before the attack, marked on each bar."""
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
    """The number of facts answered and their total, to the right of each bar."""
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
    """The legend entry for hollow bars."""
    marker = {"symbol": "square-open", "size": 11, "color": INK}
    return go.Scatter(x=[None], y=[None], mode="markers", name="control", marker=marker)
