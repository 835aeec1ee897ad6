"""The most that an attack brings back, against its learning rate (arXiv 2509.22263, Fig. 7b, c)."""

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
"""Height of a panel, and between two, in pixels."""


def attack_lr_sweep(recovery_by_lr: pd.DataFrame) -> go.Figure:
    """Most forgotten facts answered during an attack, of those it does not teach, by learning rate.

    A panel per attack, a line with a 95 % Wilson band per method, thin lines for controls. What
    comes back depends on the rate: too small a one changes nothing in the steps that there are, too
    large a one destroys the model. So methods are compared at each one's most dangerous rate.

    Args:
        recovery_by_lr: Of one attack or several, of which the rows of split `rest` with a learning
            rate are drawn: `attack`, `model` (`attacked checkpoint`, or a control's name),
            `variant`, `split`, `lr`, `n`, `before_correct`, `maximum`, `maximum_correct`,
            `maximum_low`, `maximum_high`; and `method` if there are several.

    Raises:
        ValueError: If columns are missing, nothing has a learning rate or is of split `rest`, or
            rows are not told apart.
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
        # Each attack has its own range of rates: benign ones take smaller steps.
        figure.update_xaxes(type="log", **ticks(panel["lr"]), row=row, col=1)
    legend, below = legend_below([one.name for one in series.values()], height)
    subtitle = (
        "Forgotten facts that the attack does not teach, answered at its best step at each "
        "learning rate. Bands: 95\u00a0% Wilson intervals. Thin: controls, attacked likewise."
    )
    title = "Recovery by the attack's learning rate"
    figure.update_layout(
        common_layout(title, subtitle, plot_height=height, above=42, below=below), legend=legend
    )
    figure.update_xaxes(title_text="learning rate of the attack", row=len(drawn), col=1)
    figure.update_yaxes(
        title_text="facts answered at most", tickformat=".0%", range=[-0.04, 1.04], dtick=0.25
    )
    return figure


def _traces(
    panel: pd.DataFrame, series: dict[str, Series], named: set[str]
) -> Iterator[go.Scatter]:
    """A panel's bands, below all lines, what is judged on top; names only what is not yet named."""
    rows = {line: panel.loc[panel["line"] == line, :].sort_values("lr") for line in series}
    judged = [line for line, one in series.items() if not one.control and len(rows[line])]
    for line in judged:
        x, low, high = (rows[line][name] for name in ("lr", "maximum_low", "maximum_high"))
        yield band(x.to_numpy(), low, high, series[line], beside=len(judged))
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
            "%{customdata[2]:.3~g} answers at most, %{y:.0%} [%{customdata[3]:.0%}, "
            "%{customdata[4]:.0%}]; %{customdata[5]:.3~g} before<extra>%{fullData.name}</extra>",
        )
