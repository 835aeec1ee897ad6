"""Links from a study's page to the pages of its runs."""

from pathlib import PurePosixPath
from urllib.parse import quote

from neuronscope.report.cells import Link
from neuronscope.results.study_tables import StudyTables

EXPLORE = "explore its neurons"
"""The text of a link to a run's page."""

Pages = dict[tuple[str, int], str]
"""Addresses of the runs' pages, relative to the study's page, by method and seed."""


def run_pages(study: StudyTables) -> Pages:
    """The pages of the diagnosed runs.

    Raises:
        ValueError: If a path is absolute, because the folder could then not be moved.
    """
    if "report" not in study.diagnoses.columns:
        return {}
    pages = {}
    known = study.diagnoses.loc[study.diagnoses["report"].notna()]
    for row in known.to_dict("records"):
        path = PurePosixPath(str(row["report"]))
        if path.is_absolute():
            raise ValueError(f"Expected a path relative to the study's page, got {path}.")
        # A quoted path that begins with ./ is always a file, never a URL scheme.
        pages[str(row["method"]), int(row["seed"])] = f"./{quote(str(path))}"
    return pages


def links_of(pages: Pages, method: str, seed: int | None = None) -> tuple[Link, ...]:
    """Links to the pages of one run, or of every run of a method."""
    own = {of: page for (name, of), page in pages.items() if name == method and seed in (None, of)}
    if len(own) == 1:
        return tuple(Link(EXPLORE, page) for page in own.values())
    names = (
        f"neurons, seed {of}" if number == 0 else f"seed {of}" for number, of in enumerate(own)
    )
    return tuple(Link(name, page) for name, page in zip(names, own.values(), strict=True))
