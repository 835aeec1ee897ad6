"""The common look of all figures: colours, fonts, margins. plotly's own templates stay untouched.

Every colour is defined here once. The six colours with a fixed meaning, and those that distinguish
methods, remain distinguishable under the three kinds of colour blindness and on both light and dark
pages; `DARK` maps the other colours to their counterparts on a dark page.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

ERASED = "#0072b2"
HIDDEN = "#d55e00"
ELSEWHERE = "#b3b3b3"
REMAINDER = "#7b6531"
BEFORE = "#56b4e9"
AFTER = "#a3476f"

SERIES = (ERASED, HIDDEN, AFTER, BEFORE, REMAINDER, "#e0b000", "#b030f0")
"""Colours that only distinguish methods and have no further meaning."""
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "star",
    "pentagon",
    "bowtie",
)
"""Markers that distinguish methods. There is one more than there are colours, so that a method
beyond the last colour does not look like an earlier one."""

PAPER = "#ffffff"
INK = "#1f2328"
MUTED = "#5b6472"
GRID = "#e7e9ec"
CARD = "#fafafb"
VOID = "#f1f2f4"
"""Marks what was not recorded."""

CENTRE = "#f7f7f5"
_POSITIVE = ("#a3c9e3", "#1a72ab", "#083a5e")
_NEGATIVE = ("#f3b791", "#c9580a", "#7a2a00")

RISING = [CENTRE, *_POSITIVE]
"""From no influence to strong positive influence."""
SINKING = [CENTRE, *_NEGATIVE]
"""From no influence to strong negative influence."""
DIVERGING = [*reversed(_NEGATIVE), CENTRE, *_POSITIVE]
"""From negative through no influence to positive influence."""
CROWD = ["#e9ebee", "#6f7985"]
"""From one neuron to many."""

DARK = {
    PAPER: "#16191f",
    INK: "#e4e7eb",
    MUTED: "#a2abb7",
    GRID: "#2b3038",
    CARD: "#1b1f26",
    VOID: "#22262d",
    CENTRE: "#20242b",
    "#a3c9e3": "#17496f",
    "#1a72ab": "#3f9bd8",
    "#083a5e": "#cbe8ff",
    "#f3b791": "#6f3511",
    "#c9580a": "#ea7c33",
    "#7a2a00": "#ffd9c0",
    "#e9ebee": "#2a3038",
    "#6f7985": "#9aa4b0",
}
"""The counterpart of each colour on a dark page."""

FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"

LINE_HEIGHT = 17
TITLE_HEIGHT = 44
"""Height of the title in pixels; each line of the subtitle adds `LINE_HEIGHT`."""

AXIS_HEIGHT = 52
"""Height of the lowest axis with its title, in pixels."""

ENTRY_HEIGHT = 19
NARROW = 330
"""Height of a legend line, and width of the drawing on a narrow page, in pixels."""

_AXIS = {
    "gridcolor": GRID,
    "zerolinecolor": GRID,
    "zerolinewidth": 1,
    "linecolor": GRID,
    "ticks": "outside",
    "tickcolor": GRID,
    "ticklen": 4,
    "tickfont": {"color": MUTED, "size": 11},
    "title": {"font": {"color": MUTED, "size": 12}, "standoff": 8},
    "automargin": True,
}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 12, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.01,
            "yanchor": "bottom",
            "bgcolor": "rgba(0,0,0,0)",
        },
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": GRID, "font": {"color": INK, "size": 12}},
        "annotationdefaults": {"font": {"color": INK, "size": 12}, "showarrow": False},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": MUTED, "activecolor": INK},
    }
)


def common_layout(
    title: str, subtitle: str, *, plot_height: int, above: int = 34, below: int = 52
) -> dict[str, Any]:
    """The layout of every figure: the title, the wrapped subtitle, then the drawing.

    Args:
        title: What is drawn.
        subtitle: What a reader must know: what was left out, where the colour scale ends.
        plot_height: Height of the drawing between the margins, in pixels.
        above: Space for the legend above the drawing, in pixels.
        below: Space for the axis below it, in pixels.
    """
    lines = textwrap.wrap(subtitle, 100)
    top = TITLE_HEIGHT + LINE_HEIGHT * len(lines) + above
    return {
        "template": TEMPLATE,
        "title": {
            "text": title,
            "subtitle": {"text": "<br>".join(lines), "font": {"color": MUTED, "size": 12}},
            "font": {"size": 16},
            "x": 0,
            "xref": "paper",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"t": 14},
        },
        "height": top + plot_height + below,
        "margin": {"l": 56, "r": 16, "t": top, "b": below},
    }


def legend_below(names: Sequence[str], plot_height: int) -> tuple[dict[str, Any], int]:
    """A legend below the axis, and the space that axis and legend need, in pixels.

    Args:
        names: The legend entries; their lengths determine the number of lines on a narrow page.
        plot_height: Height of the drawing, in pixels.
    """
    entry = 46 + 6.5 * max(map(len, names))
    lines = math.ceil(len(names) / max(1, int(NARROW / entry)))
    place = -(AXIS_HEIGHT + 4) / plot_height
    legend = {"y": place, "yanchor": "top", "tracegroupgap": 0}
    return legend, AXIS_HEIGHT + 12 + ENTRY_HEIGHT * lines


def untitled(figure: go.Figure) -> tuple[str, str, dict[str, Any]]:
    """Title, subtitle in one line, and `figure` as a dictionary without them and their space."""
    drawn = figure.to_dict()
    layout = drawn["layout"]
    title = layout.pop("title")
    lines = title["subtitle"]["text"].split("<br>")
    room = TITLE_HEIGHT + LINE_HEIGHT * len(lines)
    layout["height"] -= room
    layout["margin"]["t"] -= room
    return title["text"], " ".join(lines), drawn


def colour_bar(
    title: str, ends: tuple[float, ...], *, x: float, length: float, y: float
) -> dict[str, Any]:
    """A flat colour bar below the panels, labelled at `ends`; positions in paper units."""
    return {
        "orientation": "h",
        "title": {"text": title, "side": "bottom", "font": {"color": MUTED, "size": 12}},
        "x": x,
        "xanchor": "center",
        "y": y,
        "yanchor": "top",
        "len": length,
        "thickness": 10,
        "outlinewidth": 0,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": GRID,
        "tickvals": ends,
        "tickformat": ".2~g",
        "tickfont": {"color": MUTED, "size": 11},
    }
