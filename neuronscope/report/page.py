"""Write a diagnosis as one HTML page that needs no network: figures, tables, provenance."""

from pathlib import Path

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.report.causes import causes
from neuronscope.report.explorer import Explorer
from neuronscope.report.figures import figures_by_site, shared_figures
from neuronscope.report.skeleton import asset, render, write_page
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


def write_report(
    diagnosis: Diagnosis,
    path: str | Path,
    title: str | None = None,
    explorer: Explorer | None = None,
) -> None:
    """Write the page to `path`; an older file there is replaced only once the new one is complete.

    Args:
        explorer: Of single neurons (`report/explorer.py`); without, the page goes on without it.

    Raises:
        FileNotFoundError: If the folder of `path` does not exist.
    """
    write_page(path, lambda: render_report(diagnosis, title, explorer))


def render_report(
    diagnosis: Diagnosis, title: str | None = None, explorer: Explorer | None = None
) -> str:
    """The page as text: everything inside, nothing to load. Names and ids come out escaped."""
    neurons = neuron_table(diagnosis.neurons)
    return render(
        "page.html.j2",
        diagnosis=diagnosis,
        title=title or "Erased, or only hidden?",
        readings=READINGS,
        verdicts=VERDICTS,
        causes=causes(diagnosis),
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
        explorer=explorer,
        explorer_script=asset("explorer.js"),
    )
