"""Recovery under an attack against the attack's learning rate (arXiv 2509.22263, Fig. 7b, c)."""

from collections.abc import Iterator

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._attacked import of_split, panels, with_lines
from neuronscope.plots._columns import require
from neuronscope.plots._log_axis import ticks
from neuronscope.plots._look import common_layout, legend_below
from neuronscope.plots._series import Series, band, series_of
from neuronscope.results.attack_table import REST

COLUMNS = (
    "attack", "model", "variant", "split", "lr", "n", "before_correct",
    "maximum", "maximum_correct", "maximum_low", "maximum_high",
)  # fmt: skip

PANEL = 220
GAP = 74
"""Height of a panel, and of the gap between two, in pixels."""


def attack_lr_sweep(recovery_by_lr: pd.DataFrame) -> go.Figure:
    """Maximum recovery during an attack, by the attack's learning rate.

    Recovery is the share of forgotten facts answered, without those that the attack trains on.
    There is one panel per attack, one line with a 95 % Wilson band per method, and thin lines for
    controls. Recovery depends on the learning rate: with too small a rate nothing changes within
    the given steps; too large a rate destroys the model. Each method should therefore be evaluated
    at the rate that recovers most.

    Args:
        recovery_by_lr: Recovery under one or more attacks: `attack`, `model` (`attacked checkpoint`
            or a control's name), `variant`, `split`, `lr`, `n`, `before_correct`, `maximum`,
            `maximum_correct`, `maximum_low`, `maximum_high`, and `method` if there are several.
            Only rows of split `rest` that have a learning rate are drawn.

    Raises:
        ValueError: If columns are missing, no row has split `rest`, no row has a learning rate,
            or two rows describe the same point.
    """
    require(recovery_by_lr, COLUMNS, "recovery by learning rate")
    rest = of_split(recovery_by_lr, REST, "recovery by learning rate")
    trained = rest.loc[rest["lr"].notna(), :]
    if trained.empty:
        raise ValueError("Expected attacks that train, but no row has a learning rate.")
    lines = with_lines(trained, ["attack", "variant", "lr"])
    series = series_of(lines)
    drawn = panels(lines)
    height = len(drawn) * PANEL + (len(drawn) - 1) * GAP
    figure = make_subplots(
        rows=len(drawn),
        vertical_spacing=GAP / height,
        subplot_titles=[title for title, _ in drawn],
    )
    figure.update_annotations(font_size=13)
    named: set[str] = set()
    for row, (_, panel) in enumerate(drawn, start=1):
        figure.add_traces(list(_traces(panel, series, named)), row, 1)
        named |= set(panel["line"])
        # Each attack has its own range: benign relearning uses lower learning rates.
        figure.update_xaxes(type="log", **ticks(panel["lr"]), row=row, col=1)
    legend, below = legend_below([one.name for one in series.values()], height)
    subtitle = (
        "Share of forgotten facts answered at the attack's best step, for each learning rate; the "
        "attack was not trained on these facts. Bands: 95\u00a0% Wilson intervals. Thin lines: "
        "controls under the same attack."
    )
    title = "Recovery by the attack's learning rate"
    figure.update_layout(
        common_layout(title, subtitle, plot_height=height, above=42, below=below), legend=legend
    )
    figure.update_xaxes(title_text="learning rate of the attack", row=len(drawn), col=1)
    figure.update_yaxes(
        title_text="facts answered (maximum)", tickformat=".0%", range=[-0.04, 1.04], dtick=0.25
    )
    return figure


def _traces(
    panel: pd.DataFrame, series: dict[str, Series], named: set[str]
) -> Iterator[go.Scatter]:
    """The bands of a panel, then its lines, methods last; each name enters the legend once."""
    rows = {line: panel.loc[panel["line"] == line, :].sort_values("lr") for line in series}
    attacked = [line for line, one in series.items() if not one.control and len(rows[line])]
    for line in attacked:
        x, low, high = (rows[line][name] for name in ("lr", "maximum_low", "maximum_high"))
        yield band(x.to_numpy(), low, high, series[line], beside=len(attacked))
    for rank, (line, one) in reversed(list(enumerate(series.items()))):
        if rows[line].empty:
            continue
        yield go.Scatter(
            x=rows[line]["lr"],
            y=rows[line]["maximum"],
            mode="lines+markers",
            name=one.name,
            legendgroup=one.name,
            legendrank=1000 + rank,
            showlegend=line not in named,
            line={"color": one.colour, "width": one.width},
            marker={"color": one.colour, "symbol": one.symbol, "size": 8},
            customdata=rows[line][
                ["lr", "maximum_correct", "n", "maximum_low", "maximum_high", "before_correct"]
            ],
            hovertemplate="learning rate %{customdata[0]:g}: %{customdata[1]:.3~g} of "
            "%{customdata[2]:.3~g} facts answered (maximum), %{y:.0%} [%{customdata[3]:.0%}, "
            "%{customdata[4]:.0%}]; %{customdata[5]:.3~g} before the attack"
            "<extra>%{fullData.name}</extra>",
        )
