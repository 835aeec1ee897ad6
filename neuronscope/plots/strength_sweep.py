"""Recovery and retention by strength of the regularizer (arXiv 2509.22263, Fig. 7a)."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from neuronscope.plots._columns import require
from neuronscope.plots._log_axis import place_of_zero, places, ticks
from neuronscope.plots._look import INK, common_layout, legend_below
from neuronscope.plots._series import Series, series_of_methods, whiskers

KEPT = ("retained", "retained_low", "retained_high")
BACK = ("recovery", "recovery_low", "recovery_high")

PANEL = 220
GAP = 34
"""Height of a panel, and of the gap between two, in pixels."""

STRENGTH = "strength λ of the regularizer"
RELATIVE = "norm of the penalty's gradient, relative to the objective's"


def strength_sweep(runs: pd.DataFrame, *, relative: bool = False) -> go.Figure:
    """Recovery under attacks (top) and retention (below), by strength of the regularizer.

    Each run is a marker with its 95 % interval; lines connect the means at each strength. The axis
    is logarithmic and includes 0 (no regularizer).

    Args:
        runs: `strength`; the share of forgotten facts recovered by an attack, with its interval
            (`recovery`, `recovery_low`, `recovery_high`); the share of the facts to be kept that is
            answered (`retained`, `retained_low`, `retained_high`); and, if there are several
            attacks, `attack`, with one row per run and attack.
        relative: Whether strengths are relative to the objective's gradient, instead of λ.

    Raises:
        ValueError: If columns are missing, there are no runs, or a strength is below 0.
    """
    require(runs, ("strength", *BACK, *KEPT), "runs")
    if not (runs["strength"] >= 0).all():
        raise ValueError(f"Expected strengths of 0 or more, got {runs['strength'].min()}.")
    attacks = runs["attack"].astype(str) if "attack" in runs else pd.Series("attack", runs.index)
    series = series_of_methods(attacks)
    zero = place_of_zero(runs["strength"])
    height = 2 * PANEL + GAP
    figure = make_subplots(rows=2, shared_xaxes=True, vertical_spacing=GAP / height)
    for name, one in series.items():
        figure.add_traces(_traces(runs.loc[attacks == name, :], BACK, one, zero), 1, 1)
    # Retention is measured before the attacks, so it is the same for all of them.
    kept = Series("retention", INK, "diamond")
    once = runs.loc[:, ["strength", *KEPT]].drop_duplicates()
    figure.add_traces(_traces(once, KEPT, kept, zero), 2, 1)
    drawn = [*series.values(), kept]
    legend, below = legend_below([one.name for one in drawn], height)
    subtitle = (
        "Share of forgotten facts that an attack recovers (top), and share of the facts to be kept "
        "that is still answered (below). Whiskers: 95\u00a0% intervals; lines connect the means."
    )
    figure.update_layout(
        common_layout(
            "Strength of the regularizer", subtitle, plot_height=height, above=12, below=below
        ),
        legend=legend,
    )
    figure.update_xaxes(type="log", **ticks(runs["strength"], zero))
    figure.update_xaxes(title_text=RELATIVE if relative else STRENGTH, row=2, col=1)
    figure.update_yaxes(tickformat=".0%", range=[-0.04, 1.04], dtick=0.25)
    figure.update_yaxes(title_text="recovered", row=1, col=1)
    figure.update_yaxes(title_text="retained", row=2, col=1)
    return figure


def _traces(
    runs: pd.DataFrame, columns: tuple[str, str, str], series: Series, zero: float
) -> list[go.Scatter]:
    """Runs as markers with whiskers, and a line through the means at each strength."""
    share, low, high = columns
    means = pd.DataFrame(runs.groupby("strength")[[share]].mean()).reset_index()
    line = go.Scatter(
        x=places(means["strength"], zero),
        y=means[share],
        mode="lines",
        name=f"{series.name}, mean",
        legendgroup=series.name,
        showlegend=False,
        line={"color": series.colour, "width": 2},
        hoverinfo="skip",
    )
    marks = go.Scatter(
        x=places(runs["strength"], zero),
        y=runs[share],
        error_y=whiskers(runs[share], runs[low], runs[high], series.colour),
        mode="markers",
        name=series.name,
        legendgroup=series.name,
        marker={"color": series.colour, "symbol": series.symbol, "size": 8},
        customdata=runs[["strength", low, high]],
        hovertemplate="strength %{customdata[0]:g}: %{y:.0%} [%{customdata[1]:.0%}, "
        "%{customdata[2]:.0%}]<extra>%{fullData.name}</extra>",
    )
    return [line, marks]
