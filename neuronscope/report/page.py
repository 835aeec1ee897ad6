"""Write a diagnosis as one self-contained HTML page: verdict, figures, tables, provenance."""

import shlex
from pathlib import Path

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.report.causes import causes
from neuronscope.report.explorer import Explorer
from neuronscope.report.figures import figures_by_site, shared_figures
from neuronscope.report.skeleton import asset, render, write_page
from neuronscope.report.tables import (
    before_and_after,
    completeness_table,
    fact_table,
    largest_error,
    measures,
    neuron_table,
    provenance_rows,
)


def write_report(
    diagnosis: Diagnosis,
    path: str | Path,
    title: str | None = None,
    explorer: Explorer | None = None,
) -> None:
    """Write the page to `path`; an existing file is replaced only by a complete one.

    Args:
        diagnosis: The diagnosis.
        path: The HTML file.
        title: The page's heading; by default the question "Erased, or only hidden?".
        explorer: The explorer of single neurons (`report/explorer.py`), if any.

    Raises:
        FileNotFoundError: If the folder of `path` does not exist.
    """
    write_page(path, lambda: render_report(diagnosis, title, explorer))


def render_report(
    diagnosis: Diagnosis, title: str | None = None, explorer: Explorer | None = None
) -> str:
    """The self-contained page as text."""
    return render(
        "page.html.j2",
        diagnosis=diagnosis,
        title=title or "Erased, or only hidden?",
        causes=causes(diagnosis),
        comparison=before_and_after(diagnosis),
        measures=measures(diagnosis),
        figures=shared_figures(diagnosis),
        sites=figures_by_site(diagnosis),
        neurons=neuron_table(diagnosis.neurons),
        facts=fact_table(diagnosis.facts),
        completeness=completeness_table(diagnosis.completeness_by_layer),
        largest_error=largest_error(diagnosis),
        provenance=provenance_rows(diagnosis),
        command=reproducing_command(diagnosis),
        explorer=explorer,
        explorer_script=asset("explorer.js"),
    )


def reproducing_command(diagnosis: Diagnosis) -> str:
    """The shell command of this diagnosis; paths that recordings do not store are in capitals."""
    before, after = diagnosis.provenance_before, diagnosis.provenance_after
    options = {
        "before": before.model,
        "after": after.model,
        "facts": "FACTS",
        "out": "FOLDER",
        "attribution": diagnosis.attribution.replace("_", "-"),
        "target": diagnosis.target.replace("_", "-"),
        "form": before.prompt_form,
        "dtype": before.dtype,
    }
    words = ["neuronscope", "diagnose"]
    for name, value in options.items():
        words += [f"--{name}", value]
    return shlex.join([*words, "--sites", *diagnosis.sites])
