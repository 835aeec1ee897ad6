"""Finding and running views, and saving their findings.

Every finding is saved in the diagnosis's folder as soon as it is complete, so an interrupted
diagnosis runs only the missing views when it is resumed.
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
"""Names for all views that run by default, and for no view."""


def default_views() -> tuple[Evidence, ...]:
    """The views that run if none is named, in running order."""
    return in_order([view for view in _every_view().values() if view.by_default])


def in_order(views: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Views in running order: the deciding views first, those that need rankings last."""
    return tuple(sorted(views, key=lambda view: (not view.decides, view.needs_rankings)))


def views_called(names: Sequence[str]) -> tuple[Evidence, ...]:
    """The named views with their default settings, in running order.

    Args:
        names: Names of view files, `all` or `none`.

    Raises:
        ValueError: If a name is unknown; the message lists the known ones.
    """
    known = _every_view()
    unknown = [name for name in names if name not in (ALL, NONE, *known)]
    if unknown:
        raise ValueError(
            f"Unknown view {unknown[0]!r}: expected some of {', '.join(known)}, {ALL}, {NONE}."
        )
    if NONE in names and len(set(names)) > 1:
        raise ValueError(f"{NONE} cannot be combined with other views, got {', '.join(names)}.")
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
    """Run views on a case, with the rankings of neurons from two recordings.

    Args:
        case: The models and facts; its rankings are replaced.
        views: The views, in any order.
        comparison: The two recordings.
        neurons: The diagnosis's table of neurons.
        folder: Where findings are saved; a finding that is already there is loaded.
        progress: Show a progress bar.

    Returns:
        The findings, and one sentence for each view that was left out, with the reason.
    """
    ranked = replace(case, rankings=rankings_of_recordings(comparison, neurons))
    return ask_views(ranked, views, folder, progress)


def ask_views(
    case: Case,
    views: Sequence[Evidence],
    folder: Path | None = None,
    progress: bool = False,
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Run views on a case with its own rankings; arguments and results as for `ask`."""
    found: list[Finding] = []
    missing: list[str] = []
    for view in in_order(views):
        try:
            finding = _one(view, case, folder, progress)
        except ValueError as error:
            missing.append(f"The view {view_name(view)} was left out: {error}")
            continue
        found.append(finding)
        given = view.rankings(finding)
        if given:
            case = replace(case, rankings={**(case.rankings or {}), **given})
    return tuple(found), tuple(missing)


def _every_view() -> dict[str, Evidence]:
    """All views with their default settings, by name."""
    classes = {name: method_class("evidence", name, Evidence) for name in method_names("evidence")}
    # The classes are never abstract, which the type of method_class cannot express.
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
