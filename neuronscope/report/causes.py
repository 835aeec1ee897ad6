"""The causal part of a diagnosis' page: the views, their figures and tables.

The page omits views that were not run.
"""

import math
from dataclasses import dataclass

import plotly.graph_objects as go

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.plots.lens_accuracy import lens_accuracy
from neuronscope.plots.low_rank_restoration import low_rank_restoration
from neuronscope.plots.patched_layers import patched_layers
from neuronscope.plots.relearning_probe_curve import relearning_probe_curve
from neuronscope.plots.weight_map import weight_map
from neuronscope.plots.weight_restoration_curve import weight_restoration_curve
from neuronscope.report import cause_tables
from neuronscope.report.cause_tables import ranking_table, table
from neuronscope.report.cells import Table
from neuronscope.report.estimates import Estimate, estimate, on_scale
from neuronscope.report.figures import ReportFigure, prepare
from neuronscope.report.numbers import estimated_share
from neuronscope.report.views import Group, View, groups, views_of


@dataclass(frozen=True)
class Causes:
    """The causal part of a diagnosis' page."""

    share: str
    """The verdict's hidden share with its interval; empty without a relearning probe."""

    shares: tuple[Estimate, ...]
    """The same on a scale from none to all."""

    views: dict[str, View]
    """What each view found."""

    groups: tuple[Group, ...]
    """The views, grouped by agreement with the verdict."""

    figures: dict[str, ReportFigure]
    """By view."""

    scores: tuple[Estimate, ...]
    minimal: tuple[Estimate, ...]
    minimal_layers: dict[int, int]
    silenced: tuple[Estimate, ...]
    relearned: tuple[Estimate, ...]
    weight_path: dict[str, float]
    parts: tuple[Estimate, ...]
    directions: Table | None
    methods: tuple[Estimate, ...]


def causes(diagnosis: Diagnosis) -> Causes | None:
    """The causal part of the page; None without a verdict."""
    verdict = diagnosis.verdict
    if verdict is None:
        return None
    views = views_of(diagnosis)
    known = not math.isnan(verdict.hidden_share)
    whole = estimate("hidden share", verdict.hidden_share, verdict.hidden_share_ci95)
    restored = diagnosis.finding("weight_restoration")
    low_rank = diagnosis.finding("low_rank_restoration")
    path = diagnosis.finding("weight_path")
    return Causes(
        share=estimated_share(verdict.hidden_share, verdict.hidden_share_ci95) if known else "",
        shares=on_scale([whole], most=1.0) if known else (),
        views=views,
        groups=groups(views, verdict),
        figures=causal_figures(diagnosis),
        scores=cause_tables.scores(restored),
        minimal=cause_tables.minimal_set(restored),
        minimal_layers=cause_tables.minimal_layers(restored),
        silenced=cause_tables.silenced(diagnosis.finding("silencing")),
        relearned=cause_tables.relearned(diagnosis.finding("relearning_probe")),
        weight_path=cause_tables.completeness(path),
        parts=cause_tables.parts(low_rank),
        directions=cause_tables.directions(low_rank),
        methods=cause_tables.methods(diagnosis.finding("exactness")),
    )


def causal_figures(diagnosis: Diagnosis) -> dict[str, ReportFigure]:
    """The figures of the views that were run, by view."""
    drawn = _of_returns(diagnosis) | _of_places(diagnosis)
    return {view: prepare(view, figure) for view, figure in drawn.items()}


def _of_returns(diagnosis: Diagnosis) -> dict[str, go.Figure]:
    """Figures of the recovered answers."""
    restored, drawn = diagnosis.finding("low_rank_restoration"), {}
    ranks, interpolation = table(restored, "ranks"), table(restored, "interpolation")
    if ranks is not None and interpolation is not None:
        drawn["low_rank_restoration"] = low_rank_restoration(ranks, interpolation)
    if (curve := table(diagnosis.finding("relearning_probe"), "curve")) is not None:
        drawn["relearning_probe"] = relearning_probe_curve(curve)
    if (curves := ranking_table(diagnosis.finding("weight_restoration"), "curves")) is not None:
        drawn["weight_restoration"] = weight_restoration_curve(curves, diagnosis.unit)
    return drawn


def _of_places(diagnosis: Diagnosis) -> dict[str, go.Figure]:
    """Figures of where the answers were lost, and where they can still be read."""
    drawn = {}
    if (modules := table(diagnosis.finding("weight_path"), "modules")) is not None:
        drawn["weight_path"] = weight_map(modules)
    if (layers := table(diagnosis.finding("logit_lens"), "layers")) is not None:
        drawn["logit_lens"] = lens_accuracy(layers)
    if (patched := table(diagnosis.finding("depth_score"), "layers")) is not None:
        drawn["depth_score"] = patched_layers(patched)
    return drawn
