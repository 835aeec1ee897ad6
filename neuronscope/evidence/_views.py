"""The causal part of a diagnosis: which views are asked, in which order, and what is kept.

Every finding is written beside the diagnosis as soon as it is made: an interrupted diagnosis asks
only the views that are missing.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from neuronscope.analysis.rankings import rankings_of_recordings, rankings_of_weights
from neuronscope.evidence._base import Case, Evidence
from neuronscope.evidence.exactness import Exactness
from neuronscope.evidence.logit_lens import LogitLens
from neuronscope.evidence.low_rank_restoration import LowRankRestoration
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.evidence.silencing import Silencing
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.evidence.weight_restoration import WeightRestoration
from neuronscope.results.comparison import Comparison
from neuronscope.results.findings import Finding

FIRST: Evidence = WeightPath()
"""Asked first: its neurons are one of the rankings that others test."""

VIEWS: tuple[Evidence, ...] = (
    RelearningProbe(),
    LowRankRestoration(),
    WeightRestoration(),
    Silencing(),
    LogitLens(),
    Exactness(),
)
"""The other views of a diagnosis, in the order in which they are asked."""


def default_views() -> tuple[Evidence, ...]:
    """All views of a diagnosis, in the order in which they run."""
    return (FIRST, *VIEWS)


ALL, NONE = "all", "none"
"""The name of all views together, the weight path among them; and of no view."""


def views_called(names: Sequence[str]) -> tuple[Evidence, ...]:
    """The views of these names, in the order in which they are asked.

    Args:
        names: Of view files, or `all`, or `none`.

    Raises:
        ValueError: If a name is no view's, with those that there are.
    """
    known = {view_name(view): view for view in VIEWS}
    unknown = [name for name in names if name not in (ALL, NONE, *known)]
    if unknown:
        raise ValueError(
            f"there is no view {unknown[0]!r}: there are {', '.join(known)}, {ALL} and {NONE}."
        )
    if NONE in names and len(set(names)) > 1:
        raise ValueError(f"{NONE} goes with no other view, got {', '.join(names)}.")
    if ALL in names:
        return (FIRST, *VIEWS)
    return tuple(view for name, view in known.items() if name in names)


def ask_named(
    names: Sequence[str],
    case: Case,
    comparison: Comparison,
    neurons: pd.DataFrame,
    folder: Path | None = None,
    progress: bool = True,
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Ask the views of these names; with `all` every one, and otherwise without the weight path.

    Arguments and results as for `ask`.
    """
    if ALL in names:
        return ask(case, comparison, neurons, folder, progress=progress)
    ranked = replace(case, rankings=rankings_of_recordings(comparison, neurons))
    return ask_views(ranked, views_called(names), folder, progress)


def ask(
    case: Case,
    comparison: Comparison,
    neurons: pd.DataFrame,
    folder: Path | None = None,
    views: Sequence[Evidence] = VIEWS,
    progress: bool = True,
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Ask the weight path about a case, and then every view, with all rankings at hand.

    Args:
        case: The models and facts; its rankings are added here.
        comparison: The two recordings.
        neurons: The diagnosis' table of neurons.
        folder: Where findings are kept, and found again.
        views: Which views are asked after the weight path.
        progress: Show a bar.

    Returns:
        The findings, and a sentence for each view that could not be had.
    """
    rankings = rankings_of_recordings(comparison, neurons)
    first, missing = ask_views(replace(case, rankings=rankings), (FIRST,), folder, progress)
    for finding in first:
        rankings |= rankings_of_weights(finding.tables["neurons"])
    found, also_missing = ask_views(replace(case, rankings=rankings), views, folder, progress)
    return first + found, missing + also_missing


def ask_views(
    case: Case,
    views: Sequence[Evidence],
    folder: Path | None = None,
    progress: bool = False,
) -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Ask some views about a case as it is; arguments and results as for `ask`."""
    found: list[Finding] = []
    missing: list[str] = []
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True, quiet=not progress),
    )
    with bar:
        for view in views:
            try:
                found.append(_one(view, case, folder, bar))
            except ValueError as error:
                missing.append(f"{view_name(view)} was left out: {error}")
    return tuple(found), tuple(missing)


def view_name(view: Evidence) -> str:
    """The view's file name."""
    return type(view).__module__.rpartition(".")[2]


def _one(view: Evidence, case: Case, folder: Path | None, bar: Progress) -> Finding:
    name = view_name(view)
    place = None if folder is None else folder / name
    identity = view.identity(case)
    if place is not None and place.exists():
        return Finding.load(place, identity)
    task = bar.add_task(name.replace("_", " "), total=None)
    finding = view(case, lambda done, total: bar.update(task, completed=done, total=total))
    bar.update(task, completed=1, total=1)
    if place is not None:
        finding.save(place, identity)
    return finding
