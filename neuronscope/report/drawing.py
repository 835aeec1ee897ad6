"""Every figure of a page as a file of its own: SVG, PDF or PNG, for a paper or a talk.

Drawn by kaleido in a browser that is installed (Chrome or Chromium), without a network. Titles and
small print are a caption's business and stand in `captions.txt` beside the figures.
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
"""Of every figure, in pixels; a PNG has twice as many."""


def check_can_draw() -> None:
    """See that figures can be drawn, before anything is computed for them.

    Raises:
        ValueError: If what draws them is not installed; it says what to install.
    """
    if importlib.util.find_spec("kaleido") is None:
        raise ValueError(
            "Figures as files are drawn by the package kaleido, which is not installed: "
            "pip install 'neuronscope[export]'"
        )
    browsers = importlib.import_module("choreographer.browsers")
    if browsers.Chromium.find_browser(skip_local=False) is None:
        raise ValueError(
            "Figures as files are drawn in a browser, and neither Chrome nor Chromium was found: "
            "install one, for example with `apt-get install chromium`."
        )


def diagnosis_figures(diagnosis: Diagnosis) -> tuple[ReportFigure, ...]:
    """The figures of a diagnosis' page; those of causes where they were tested."""
    sites = [drawn for figures in figures_by_site(diagnosis).values() for drawn in figures]
    causes = [] if diagnosis.verdict is None else causal_figures(diagnosis).values()
    return (*causes, *sites, *shared_figures(diagnosis).values())


def figures_of_study(study: StudyTables) -> tuple[ReportFigure, ...]:
    """The figures of a study's page, also those that are folded there."""
    drawn = study_figures(study)
    folded = (*drawn.curves, *drawn.trades, *drawn.stability, *drawn.training)
    bars = () if drawn.bars is None else (drawn.bars,)
    return (*bars, *(one for group in folded for one in group.figures), *drawn.sweeps)


def write_figures(figures: Iterable[ReportFigure], folder: Path, kind: Kind) -> tuple[Path, ...]:
    """Write each figure to `NAME.KIND` in a folder, and all captions to `captions.txt`.

    Args:
        figures: Of a page: `diagnosis_figures`, `figures_of_study`.
        folder: Made if it does not exist; what has the same name in it is replaced.
        kind: The format of the files.

    Returns:
        The files of the figures.

    Raises:
        ValueError: If what draws them is not installed.
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
    # MathJax would be fetched from the network, and nothing here is set in it.
    kaleido.write_fig_from_object_sync(jobs, kopts={"mathjax": False})
    captions = [
        f"{path.name}: {one.title}. {one.reading} {one.note}" for path, one in drawn.items()
    ]
    (folder / "captions.txt").write_text("\n\n".join(captions) + "\n", encoding="utf-8")
    return tuple(drawn)
