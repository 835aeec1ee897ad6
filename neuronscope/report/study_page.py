"""Write a study as one HTML page that needs no network: the answer, the methods side by side."""

from pathlib import Path, PurePosixPath
from urllib.parse import quote

from neuronscope.report.skeleton import render, write_page
from neuronscope.report.study_answer import answer
from neuronscope.report.study_figures import study_figures
from neuronscope.report.study_rows import (
    comparison_table,
    ending_table,
    every_score,
    score_table,
    setting_rows,
    strata_table,
    why_table,
)
from neuronscope.report.study_verdicts import verdict_table
from neuronscope.study_tables import StudyTables


def write_study_report(study: StudyTables, out: str | Path) -> None:
    """Write the page to `out`; an older file there is replaced only once the new one is complete.

    Raises:
        FileNotFoundError: If the folder of `out` does not exist.
        ValueError: If the path of a run's own page is absolute.
    """
    write_page(out, lambda: render_study_report(study))


def render_study_report(study: StudyTables) -> str:
    """The page as text: everything inside, nothing to load. All names come out escaped."""
    return render(
        "study.html.j2",
        study=study,
        answer=answer(study),
        verdicts=verdict_table(study),
        figures=study_figures(study),
        comparisons=comparison_table(study),
        strata=strata_table(study),
        scores=score_table(study),
        every_score=every_score(study),
        why=why_table(study),
        endings=ending_table(study),
        settings=setting_rows(study.settings),
        pages=run_pages(study),
    )


def run_pages(study: StudyTables) -> tuple[tuple[str, str], ...]:
    """The runs' own pages: what a reader calls each, and its address relative to this page.

    Raises:
        ValueError: If a path is absolute: the folder could not be moved.
    """
    if "report" not in study.diagnoses.columns:
        return ()
    pages = []
    known = study.diagnoses.loc[study.diagnoses["report"].notna()]
    for row in known.to_dict("records"):
        path = PurePosixPath(str(row["report"]))
        if path.is_absolute():
            raise ValueError(f"Expected a path relative to the study's page, got {path}.")
        # What is quoted and begins with ./ names a file, whatever it is called: never a scheme.
        pages.append((f"{row['method']}, seed {row['seed']}", f"./{quote(str(path))}"))
    return tuple(pages)
