"""The figures of a diagnosis' page. Their captions are in `templates/captions.j2`."""

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
from neuronscope.report.skeleton import plain_text

MAP_BYTES = 1_400_000
"""Bytes for the numbers of all heatmaps together, which dominate the size of the page."""

COLUMNS = (96, 768)
"""Minimum and maximum number of columns of a heatmap."""


@dataclass(frozen=True)
class ReportFigure:
    """A figure as shown on the page, with its heading and caption as text."""

    name: str
    title: str
    how: str
    """How to read it."""

    note: str
    """What the figure shows."""

    height: int
    spec: Markup
    """The figure as JSON, safe inside a script element."""


def shared_figures(diagnosis: Diagnosis) -> dict[str, ReportFigure]:
    """The figures that cover all sites, by name."""
    unit = diagnosis.unit
    drawn = {
        "shift": influence_shift(diagnosis.neurons, unit),
        "curve": cumulative_variation(diagnosis.curve, unit),
        "modules": module_map(diagnosis.modules, unit),
        "distribution": attribution_distribution(diagnosis.neurons, unit),
    }
    return {name: prepare(name, figure) for name, figure in drawn.items()}


def figures_by_site(diagnosis: Diagnosis) -> dict[str, list[ReportFigure]]:
    """Decomposition and heatmap of each recorded site, the most changed site first.

    If all layers were attributed jointly, the only decomposition is listed under the first site.
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
            figures.append(prepare(f"parts-{number}", decomposition(layers, diagnosis.unit)))
        heatmap = neuron_heatmap(diagnosis.neurons, site=site, unit=diagnosis.unit, columns=columns)
        pages[site] = [*figures, prepare(f"map-{number}", heatmap)]
    return pages


def _by_change(diagnosis: Diagnosis) -> list[str]:
    """The sites, ordered by the total change of their neurons."""
    change = diagnosis.neurons["d_plus"] + diagnosis.neurons["d_minus"]
    total = change.groupby(diagnosis.neurons["site"]).sum()
    return sorted(diagnosis.sites, key=lambda site: -float(total[site]))


def _columns(neurons: pd.DataFrame) -> int:
    """Number of heatmap columns that fit into the page."""
    names = 5 if "expert" in neurons.columns else 3
    wide = neurons["neuron"].max() > np.iinfo(np.int16).max
    cell = 4 + names * (4 if wide else 2)
    rows = 3 * len(neurons[["site", "layer"]].drop_duplicates())
    return min(max(MAP_BYTES // (cell * rows), COLUMNS[0]), COLUMNS[1])


def prepare(name: str, figure: go.Figure, kind: str | None = None) -> ReportFigure:
    """Split a figure into its heading, its caption and the drawing.

    Args:
        name: Its id in the page; figures of one kind are distinguished by a number at the end.
        figure: The figure.
        kind: Its name in `captions.j2`; by default the name without its number.
    """
    title, note, drawn = untitled(figure)
    text = json.dumps(drawn, cls=PlotlyJSONEncoder)
    how = plain_text("captions.j2", "caption", kind or name.rstrip("-0123456789"))
    return ReportFigure(name, title, how, note, drawn["layout"]["height"], in_script(text))


def in_script(text: str) -> Markup:
    """Escape JSON for a script element, so that it cannot contain markup."""
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)
