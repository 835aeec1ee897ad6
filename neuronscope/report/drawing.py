"""Write every figure of a page to a separate SVG, PDF or PNG file, for papers and talks.

Kaleido draws them in an installed browser (Chrome or Chromium), without a network. Titles and
captions are written to `captions.txt` in the same folder.
"""

import importlib
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import plotly.graph_objects as go

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.report.causes import causal_figures
from neuronscope.report.figures import ReportFigure, figures_by_site, shared_figures
from neuronscope.report.study_figures import study_figures
from neuronscope.results.study_tables import StudyTables

Kind = Literal["svg", "pdf", "png"]

WIDTH = 900
"""Width of every figure in pixels; a PNG has twice as many."""


def check_can_draw() -> None:
    """Check that figures can be drawn, before anything is computed.

    Raises:
        ValueError: If kaleido or a browser is missing; the message says what to install.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise ValueError(
            "Writing figures to files needs the package kaleido, which is not installed: "
            "pip install 'neuronscope[export]'"
        )
    browsers = importlib.import_module("choreographer.browsers")
    if browsers.Chromium.find_browser(skip_local=False) is None:
        raise ValueError(
            "Writing figures to files needs Chrome or Chromium, and neither was found: install "
            "one, for example with `apt-get install chromium`."
        )


def diagnosis_figures(diagnosis: Diagnosis) -> tuple[ReportFigure, ...]:
    """The figures of a diagnosis' page."""
    sites = [drawn for figures in figures_by_site(diagnosis).values() for drawn in figures]
    causes = [] if diagnosis.verdict is None else causal_figures(diagnosis).values()
    return (*causes, *sites, *shared_figures(diagnosis).values())


def figures_of_study(study: StudyTables) -> tuple[ReportFigure, ...]:
    """The figures of a study's page, including folded ones."""
    drawn = study_figures(study)
    folded = (*drawn.curves, *drawn.trades, *drawn.stability, *drawn.training)
    bars = () if drawn.bars is None else (drawn.bars,)
    return (*bars, *(one for group in folded for one in group.figures), *drawn.sweeps)


def write_figures(figures: Iterable[ReportFigure], folder: Path, kind: Kind) -> tuple[Path, ...]:
    """Write each figure to `NAME.KIND` in a folder, and all captions to `captions.txt`.

    Args:
        figures: The figures, from `diagnosis_figures` or `figures_of_study`.
        folder: Created if necessary; existing files of the same names are replaced.
        kind: The file format.

    Returns:
        The paths of the figures.

    Raises:
        ValueError: If kaleido or a browser is missing.
    """
    check_can_draw()
    kaleido: Any = importlib.import_module("kaleido")
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {folder / f"{figure.name}.{kind}": figure for figure in figures}
    jobs = [
        {
            "fig": go.Figure(json.loads(figure.spec)),
            "path": str(path),
            "opts": {"format": kind, "width": WIDTH, "height": figure.height}
            | ({"scale": 2} if kind == "png" else {}),
        }
        for path, figure in drawn.items()
    ]
    # MathJax would be fetched from the network, and no figure uses it.
    kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False})
    captions = [f"{path.name}: {one.title}. {one.how} {one.note}" for path, one in drawn.items()]
    (folder / "captions.txt").write_text("\n\n".join(captions) + "\n", encoding="utf-8")
    return tuple(drawn)
