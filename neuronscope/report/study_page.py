"""Write a study as one self-contained HTML page."""

from pathlib import Path

from neuronscope.report.run_pages import run_pages
from neuronscope.report.skeleton import render, write_page
from neuronscope.report.study_answer import answer
from neuronscope.report.study_attacks import attack_notes, attack_table
from neuronscope.report.study_figures import study_figures
from neuronscope.report.study_rows import (
    comparison_table,
    ending_table,
    every_score,
    retention_table,
    score_table,
    setting_rows,
    stability_table,
    strata_table,
    why_table,
)
from neuronscope.report.study_verdicts import verdict_table
from neuronscope.results.study_tables import StudyTables


def write_study_report(study: StudyTables, out: str | Path) -> None:
    """Write the page to `out`; an existing file is replaced only by a complete one.

    Raises:
        FileNotFoundError: If the folder of `out` does not exist.
        ValueError: If the path of a run's own page is absolute.
    """
    write_page(out, lambda: render_study_report(study))


def render_study_report(study: StudyTables) -> str:
    """The self-contained page as text."""
    return render(
        "study.html.j2",
        study=study,
        answer=answer(study),
        verdicts=verdict_table(study),
        figures=study_figures(study),
        attacks=attack_table(study),
        notes=attack_notes(study),
        comparisons=comparison_table(study),
        strata=strata_table(study),
        retention=retention_table(study),
        scores=score_table(study),
        every_score=every_score(study),
        why=why_table(study),
        stability=stability_table(study),
        endings=ending_table(study),
        settings=setting_rows(study.settings),
        paged=bool(run_pages(study)),
    )
