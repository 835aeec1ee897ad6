"""Recovery of forgotten facts under an attack, against the attack's budget."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._attacked import of_split, panels, with_lines
from neuronscope.plots._columns import require
from neuronscope.plots._log_axis import place_of_zero, places, ticks
from neuronscope.plots._look import MUTED, common_layout, legend_below
from neuronscope.plots._series import Series, band, series_of
from neuronscope.results.attack_table import ATTACKED, REST, RETAIN

COLUMNS = (
    "attack", "model", "variant", "split", "lr", "step", "budget",
    "correct", "n", "share", "low", "high",
)  # fmt: skip

PANEL = 190
GAP = 74
"""Height of a panel, and of the gap between two, in pixels."""

BESIDE = {
    ATTACKED: ("facts the attack trains on", "dash"),
    RETAIN: ("retain set", "dot"),
}
"""Splits drawn in addition to the rest: their names, and the dash style of their lines."""


def recovery_curve(curves: pd.DataFrame, *, retain: bool = False) -> go.Figure:
    """Share of facts answered by budget, one panel per attack and learning rate.

    Solid lines are the forgotten facts that the attack does not train on, with their 95 % Wilson
    interval. Dashed lines are those that it trains on, whose recovery only shows that the attack
    worked. Controls are thin lines without a band; hover texts give their intervals. The budget
    axis is logarithmic and includes 0, the state before the attack; panels of the same attack share
    it.

    Args:
        curves: Curves of one or more attacks: `attack`, `model` (`attacked checkpoint` or a
            control's name), `variant`, `split` (`rest`, `attacked`, `retain`), `lr`, `step`,
            `budget`, `correct`, `n`, `share`, `low`, `high`, and `method` if there are several.
        retain: Whether to draw the retain set as well.

    Raises:
        ValueError: If columns are missing, no row has split `rest`, or two rows describe the same
            point.
    """
    require(curves, COLUMNS, "curves of an attack")
    of_split(curves, REST, "curves of an attack")
    beside = [split for split in BESIDE if split == ATTACKED or retain]
    known = curves.loc[curves["split"].isin([REST, *beside]), :]
    lines = with_lines(known, ["attack", "variant", "split", "lr", "step"])
    series = series_of(lines)
    drawn = panels(lines, by_lr=True)
    titles = [title for title, _ in drawn]
    height = len(drawn) * PANEL + (len(drawn) - 1) * GAP
    figure = make_subplots(rows=len(drawn), vertical_spacing=GAP / height, subplot_titles=titles)
    figure.update_annotations(font_size=13)
    named: set[str] = set()
    for row, (_, panel) in enumerate(drawn, start=1):
        of_attack = lines.loc[lines["attack"] == panel["attack"].iloc[0], "budget"]
        figure.add_traces(list(_traces(panel, series, place_of_zero(of_attack), named)), row, 1)
        named |= set(panel["line"])
    keys = [BESIDE[split] for split in beside if (lines["split"] == split).any()]
    figure.add_traces([_key(*key) for key in keys], 1, 1)
    legend, below = legend_below(
        [*(s.name for s in series.values()), *(k for k, _ in keys)], height
    )
    subtitle = (
        "Facts answered with greedy decoding. Solid: forgotten facts that the attack was not "
        "trained on (bands: 95\u00a0% Wilson intervals). Thin lines: controls under the same "
        "attack."
    )
    figure.update_layout(
        common_layout("Recovery under attack", subtitle, plot_height=height, above=42, below=below),
        legend=legend,
    )
    _set_axes(figure, lines, [panel for _, panel in drawn])
    return figure


def _traces(
    panel: pd.DataFrame, series: dict[str, Series], zero: float, named: set[str]
) -> Iterator[go.Scatter]:
    """The bands of a panel, then its lines, methods last; each name enters the legend once."""
    rows = {line: panel.loc[panel["line"] == line, :].sort_values("budget") for line in series}
    attacked = [line for line, one in series.items() if not one.control and len(rows[line])]
    for line in attacked:
        rest = _of(rows[line], REST)
        x = places(rest["budget"], zero)
        yield band(x, rest["low"], rest["high"], series[line], beside=len(attacked))
    # How well controls learn the training facts shows nothing about the attacked checkpoint.
    for split in BESIDE:
        for line in attacked:
            if len(beside := _of(rows[line], split)):
                yield _beside(beside, series[line], zero, split, alone=len(attacked) == 1)
    for rank, (line, one) in reversed(list(enumerate(series.items()))):
        if len(rest := _of(rows[line], REST)):
            shown = line not in named
            yield _line(rest, one, zero).update(legendrank=1000 + rank, showlegend=shown)


def _of(rows: pd.DataFrame, split: str) -> pd.DataFrame:
    return rows.loc[rows["split"] == split, :]


def _line(rows: pd.DataFrame, series: Series, zero: float) -> go.Scatter:
    """The line of one split."""
    return go.Scatter(
        x=places(rows["budget"], zero),
        y=rows["share"],
        mode="lines+markers",
        name=series.name,
        legendgroup=series.name,
        line={"color": series.colour, "width": series.width},
        marker={
            "color": series.colour,
            "symbol": series.symbol,
            "size": 5 if series.control else 6,
        },
        customdata=rows[["step", "budget", "correct", "n", "low", "high"]],
        hovertemplate="step %{customdata[0]}, budget %{customdata[1]:.3~g}: "
        "%{customdata[2]:.3~g} of %{customdata[3]:.3~g} facts, %{y:.0%} "
        "[%{customdata[4]:.0%}, %{customdata[5]:.0%}]<extra>%{fullData.name}</extra>",
    )


def _beside(
    rows: pd.DataFrame, series: Series, zero: float, split: str, *, alone: bool
) -> go.Scatter:
    """The line of an additional split, fainter if there are several methods."""
    what, dash = BESIDE[split]
    return _line(rows, series, zero).update(
        mode="lines",
        name=f"{series.name}, {what}",
        showlegend=False,
        opacity=0.8 if alone else 0.4,
        line={"color": series.colour, "width": 1.5 if alone else 1, "dash": dash},
    )


def _key(name: str, dash: str) -> go.Scatter:
    """The legend entry of an additional split."""
    line = {"color": MUTED, "width": 1.5, "dash": dash}
    return go.Scatter(x=[None], y=[None], mode="lines", name=name, line=line, legendrank=2000)


def _set_axes(figure: go.Figure, lines: pd.DataFrame, panels: list[pd.DataFrame]) -> None:
    """Share one budget axis among the panels of each attack."""
    attacks = [panel["attack"].iloc[0] for panel in panels]
    for row, (panel, attack) in enumerate(zip(panels, attacks, strict=True), start=1):
        budgets = lines.loc[lines["attack"] == attack, "budget"]
        first, last = attacks.index(attack), len(attacks) - 1 - attacks[::-1].index(attack)
        figure.update_xaxes(
            type="log",
            matches=None if row == first + 1 else f"x{first + 1 if first else ''}",
            **ticks(budgets, place_of_zero(budgets)),
            row=row,
            col=1,
        )
        if row == last + 1:
            trained = panel["lr"].notna().any()
            title = (
                "budget (steps × learning rate)" if trained else "budget (the attack's own unit)"
            )
            figure.update_xaxes(title_text=title, row=row, col=1)
    figure.update_yaxes(
        title_text="facts answered", tickformat=".0%", range=[-0.04, 1.04], dtick=0.25
    )
