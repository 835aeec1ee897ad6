"""Running views: which there are, in which order, and what is kept.

Every finding is written beside the diagnosis as soon as it is made, so that an interrupted
diagnosis runs only the views that are missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pandas as pd

from neuronscope._discover import method_class, method_names
from neuronscope.analysis.rankings import rankings_of_recordings
from neuronscope.display import showing_progress
from neuronscope.evidence._base import Case, Evidence
from neuronscope.results.comparison import Comparison
from neuronscope.results.findings import Finding

ALL, NONE = "all", "none"
"""The name of all views that run by default, and of no view."""


def default_views() -> tuple[Evidence, ...]:
    """The views that run where none is named, in running order."""
    return in_order([view for view in _every_view().values() if view.by_default])


def in_order(views: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Views in running order: first what the verdict rests on, last what needs rankings."""
    return tuple(sorted(views, key=lambda view: (not view.decides, view.needs_rankings)))


def views_called(names: Sequence[str]) -> tuple[Evidence, ...]:
    """The views of these names with their default settings, in running order.

    Args:
        names: Of view files, or `all`, or `none`.

    Raises:
        ValueError: If a name is no view's, with those that there are.
    """
    known = _every_view()
    unknown = [name for name in names if name not in (ALL, NONE, *known)]
    if unknown:
        raise ValueError(
            f"there is no view {unknown[0]!r}: there are {', '.join(known)}, {ALL} and {NONE}."
        )
    if NONE in names and len(set(names)) > 1:
        raise ValueError(f"{NONE} goes with no other view, got {', '.join(names)}.")
    chosen = [
        view for name, view in known.items() if name in names or (ALL in names and view.by_default)
    ]
    return in_order(chosen)


def ask(
    case: Case,
    views: Sequence[Evidence],
    comparison: Comparison,
    neurons: pd.DataFrame,
    folder: Path | None = None,
    progress: bool = True,
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Run views on a case, with the rankings that two recordings give.

    Args:
        case: The models and facts; its rankings are added here.
        views: They run in running order, whatever their order here.
        comparison: The two recordings.
        neurons: The diagnosis' table of neurons.
        folder: Where findings are kept, and found again.
        progress: Show a bar.

    Returns:
        The findings, and a sentence for each view that was left out, with the reason.
    """
    ranked = replace(case, rankings=rankings_of_recordings(comparison, neurons))
    return ask_views(ranked, views, folder, progress)


def ask_views(
    case: Case,
    views: Sequence[Evidence],
    folder: Path | None = None,
    progress: bool = False,
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Run views on a case with the rankings that it has; arguments and results as for `ask`."""
    found: list[Finding] = []
    missing: list[str] = []
    for view in in_order(views):
        try:
            finding = _one(view, case, folder, progress)
        except ValueError as error:
            missing.append(f"{view_name(view)} was left out: {error}")
            continue
        found.append(finding)
        given = view.rankings(finding)
        if given:
            case = replace(case, rankings={**(case.rankings or {}), **given})
    return tuple(found), tuple(missing)


def _every_view() -> dict[str, Evidence]:
    """All views with their default settings, by name."""
    classes = {name: method_class("evidence", name, Evidence) for name in method_names("evidence")}
    # What method_class returns is never abstract, which its type cannot say.
    return {name: cast(Callable[[], Evidence], made)() for name, made in classes.items()}


def view_name(view: Evidence) -> str:
    """The view's file name."""
    return type(view).__module__.rpartition(".")[2]


def _one(view: Evidence, case: Case, folder: Path | None, progress: bool) -> Finding:
    name = view_name(view)
    place = None if folder is None else folder / name
    identity = view.identity(case)
    if place is not None and place.exists():
        return Finding.load(place, identity)
    with showing_progress(name.replace("_", " "), progress) as show:
        finding = view(case, show)
    if place is not None:
        finding.save(place, identity)
    return finding
