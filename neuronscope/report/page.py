"""Write a diagnosis as one HTML page that needs no network: figures, tables, provenance."""

import os
from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.plots import _look
from neuronscope.report.causes import causes
from neuronscope.report.figures import figures_by_site, shared_figures
from neuronscope.report.tables import (
    before_and_after,
    certificate_table,
    fact_table,
    largest_error,
    measures,
    neuron_table,
    provenance_rows,
)
from neuronscope.report.words import (
    READINGS,
    VERDICTS,
    completeness_meaning,
    flagged_meaning,
    neurons_meaning,
    neurons_units,
    reproducing_command,
)

FOLDER = Path(__file__).parent

COLOURS = {
    "paper": _look.PAPER,
    "card": _look.CARD,
    "ink": _look.INK,
    "muted": _look.MUTED,
    "line": _look.GRID,
    "erased": _look.ERASED,
    "hidden": _look.HIDDEN,
    "remainder": _look.REMAINDER,
    "before": _look.BEFORE,
    "after": _look.AFTER,
}
"""The page's colours by their name in the style sheet."""


def write_report(diagnosis: Diagnosis, path: str | Path, title: str | None = None) -> None:
    """Write the page to `path`; an older file there is replaced only once the new one is complete.

    Raises:
        FileNotFoundError: If the folder of `path` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"No folder {path.parent} to write {path.name} to: create it first."
        )
    text = render_report(diagnosis, title)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def render_report(diagnosis: Diagnosis, title: str | None = None) -> str:
    """The page as text: everything inside, nothing to load. Names and ids come out escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    neurons = neuron_table(diagnosis.neurons)
    return environment.get_template("page.html.j2").render(
        diagnosis=diagnosis,
        title=title or "Erased, or only hidden?",
        readings=READINGS,
        verdicts=VERDICTS,
        causes=causes(diagnosis),
        font=Markup(_look.FONT),
        colours=COLOURS,
        dark=_look.DARK,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        script=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
        comparison=before_and_after(diagnosis),
        measures=measures(diagnosis),
        figures=shared_figures(diagnosis),
        sites=figures_by_site(diagnosis),
        neurons=neurons,
        neurons_meaning=neurons_meaning(diagnosis, len(neurons.rows), neurons.total),
        neurons_units=neurons_units(diagnosis),
        facts=fact_table(diagnosis.facts),
        certificate=certificate_table(diagnosis.completeness_by_layer),
        completeness=completeness_meaning(diagnosis.attribution),
        largest_error=largest_error(diagnosis),
        flagged=flagged_meaning(diagnosis),
        provenance=provenance_rows(diagnosis),
        command=reproducing_command(diagnosis),
    )
