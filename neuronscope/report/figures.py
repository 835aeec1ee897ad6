"""The figures of the page, each with the line that says how to read it."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.utils import PlotlyJSONEncoder

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.plots import untitled
from neuronscope.plots.attribution_distribution import attribution_distribution
from neuronscope.plots.cumulative_variation import cumulative_variation
from neuronscope.plots.decomposition import decomposition
from neuronscope.plots.influence_shift import influence_shift
from neuronscope.plots.module_map import module_map
from neuronscope.plots.neuron_heatmap import neuron_heatmap

MAP_BYTES = 1_400_000
"""Room for the numbers of all heatmaps together: they decide how large the page gets."""

COLUMNS = (96, 768)
"""Fewest and most columns of a heatmap."""


@dataclass(frozen=True)
class ReportFigure:
    """A figure as the page shows it: the heading and the small print are text of the page."""

    name: str
    title: str
    reading: str
    """How to read it, in one line."""
    note: str
    """What the drawing leaves out."""
    height: int
    spec: Markup
    """The figure as JSON, safe inside a script element."""


def shared_figures(diagnosis: Diagnosis) -> dict[str, ReportFigure]:
    """Figures over all sites, by name."""
    unit = diagnosis.unit
    return {
        "shift": prepare(
            "shift",
            influence_shift(diagnosis.neurons, unit),
            "On the dotted line nothing changed. Dots below it turned against the answer; marked "
            "ones did so on the forgotten facts more than on the others.",
        ),
        "curve": prepare(
            "curve",
            cumulative_variation(diagnosis.curve, unit),
            "The higher line is what happened more: orange above blue speaks for hiding. A line "
            "that rises late is the work of many neurons, each a little.",
        ),
        "modules": prepare(
            "modules",
            module_map(diagnosis.modules, unit),
            "Deeper colour, stronger change. Compare the two panels: one scale holds for both.",
        ),
        "distribution": prepare(
            "distribution",
            attribution_distribution(diagnosis.neurons, unit),
            "Weight that moved to the left side is negative influence gained; a right side that "
            "shrank is positive influence lost.",
        ),
    }


def figures_by_site(diagnosis: Diagnosis) -> dict[str, list[ReportFigure]]:
    """Decomposition and heatmap of each recorded site; where most changed, first.

    Where all layers were explained together there is one decomposition for all sites: it stands
    with the first.
    """
    joint = (diagnosis.layers["layer"] == "all").all()
    columns = _columns(diagnosis.neurons)
    pages = {}
    for number, site in enumerate(_by_change(diagnosis)):
        layers = diagnosis.layers
        figures = []
        if not joint:
            layers = layers.loc[layers["site"] == site]
        if not joint or number == 0:
            figures.append(
                prepare(
                    f"parts-{number}",
                    decomposition(layers, diagnosis.unit),
                    "Orange (hidden) against blue (erased) is the question; grey is change that "
                    "reached the answer without these neurons.",
                )
            )
        figures.append(
            prepare(
                f"map-{number}",
                neuron_heatmap(diagnosis.neurons, site=site, unit=diagnosis.unit, columns=columns),
                "Blue supports the answers, orange opposes them. In the lowest panel orange is "
                "support lost or opposition gained. Drag to zoom all panels, point for names.",
            )
        )
        pages[site] = figures
    return pages


def _by_change(diagnosis: Diagnosis) -> list[str]:
    """The sites, by how much their neurons changed."""
    change = diagnosis.neurons["d_plus"] + diagnosis.neurons["d_minus"]
    total = change.groupby(diagnosis.neurons["site"]).sum()
    return sorted(diagnosis.sites, key=lambda site: -float(total[site]))


def _columns(neurons: pd.DataFrame) -> int:
    """As many heatmap columns as the page has room for."""
    names = 5 if "expert" in neurons.columns else 3
    wide = neurons["neuron"].max() > np.iinfo(np.int16).max
    cell = 4 + names * (4 if wide else 2)
    rows = 3 * len(neurons[["site", "layer"]].drop_duplicates())
    return min(max(MAP_BYTES // (cell * rows), COLUMNS[0]), COLUMNS[1])


def prepare(name: str, figure: go.Figure, reading: str) -> ReportFigure:
    """A figure without its own title, as JSON in which no markup can begin."""
    title, note, drawn = untitled(figure)
    text = json.dumps(drawn, cls=PlotlyJSONEncoder)
    return ReportFigure(name, title, reading, note, drawn["layout"]["height"], in_script(text))


def in_script(text: str) -> Markup:
    """JSON that may stand inside a script element: no markup can begin in it."""
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
