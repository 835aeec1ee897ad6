"""What the page shows of the causes: the verdict, its views, their figures and tables.

A view that was left out has no figure and no rows; the page goes on without it.
"""

import math
from dataclasses import dataclass

import plotly.graph_objects as go

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.analysis.verdict import Verdict
from neuronscope.plots.lens_accuracy import lens_accuracy
from neuronscope.plots.low_rank_restoration import low_rank_restoration
from neuronscope.plots.patched_layers import patched_layers
from neuronscope.plots.relearning_probe_curve import relearning_probe_curve
from neuronscope.plots.weight_map import weight_map
from neuronscope.plots.weight_restoration_curve import weight_restoration_curve
from neuronscope.report import cause_tables
from neuronscope.report.cause_tables import ranking_table, table
from neuronscope.report.estimates import Estimate, estimate, on_scale, percent
from neuronscope.report.figures import ReportFigure, prepare
from neuronscope.report.tables import Table
from neuronscope.report.views import Group, View, groups, views


@dataclass(frozen=True)
class Causes:
    """Everything that the page shows of a diagnosis whose causes were tested."""

    verdict: Verdict

    share: str
    """The verdict's hidden share with its interval; empty if it was not asked."""

    shares: tuple[Estimate, ...]
    """The same, on a scale from nothing to all."""

    said: dict[str, View]
    """What each view says, by the name of its file."""

    groups: tuple[Group, ...]
    """The same, by agreement with the verdict."""

    figures: dict[str, ReportFigure]
    """By the name of the view's file."""

    scores: tuple[Estimate, ...]
    minimal: tuple[Estimate, ...]
    minimal_places: str
    silenced: tuple[Estimate, ...]
    learnt_again: tuple[Estimate, ...]
    certificate: str
    parts: tuple[Estimate, ...]
    directions: Table | None
    methods: tuple[Estimate, ...]


def causes(diagnosis: Diagnosis) -> Causes | None:
    """What the page shows of the causes; None where they were not tested."""
    verdict = diagnosis.verdict
    if verdict is None:
        return None
    said = views(diagnosis)
    asked = not math.isnan(verdict.hidden_share)
    whole = estimate("hidden share", verdict.hidden_share, verdict.hidden_share_ci95)
    low_rank = diagnosis.finding("low_rank_restoration")
    weight_restoration = diagnosis.finding("weight_restoration")
    return Causes(
        verdict=verdict,
        share=percent(verdict.hidden_share, verdict.hidden_share_ci95) if asked else "",
        shares=on_scale([whole], most=1.0) if asked else (),
        said=said,
        groups=groups(said, verdict),
        figures=causal_figures(diagnosis),
        scores=cause_tables.scores(weight_restoration),
        minimal=cause_tables.minimal_set(weight_restoration),
        minimal_places=cause_tables.minimal_places(weight_restoration),
        silenced=cause_tables.silenced(diagnosis.finding("silencing")),
        learnt_again=cause_tables.learnt_again(diagnosis.finding("relearning_probe")),
        certificate=cause_tables.certificate(diagnosis.finding("weight_path"), diagnosis.unit),
        parts=cause_tables.parts(low_rank),
        directions=cause_tables.directions(low_rank),
        methods=cause_tables.methods(diagnosis.finding("exactness")),
    )


def causal_figures(diagnosis: Diagnosis) -> dict[str, ReportFigure]:
    """The figures of the views that were had, by the name of the view's file."""
    drawn = _of_returns(diagnosis) | _of_places(diagnosis)
    return {view: prepare(view, figure, READINGS[view]) for view, figure in drawn.items()}


READINGS = {
    "relearning_probe": "Where the orange line rises before the grey ones do, answers come back that were "
    "there; where it rises with them, they are learnt like anything new.",
    "low_rank_restoration": "The further left the orange line rises, the less of the change has to be undone "
    "for the answers to return. It decides nothing alone: a low rank can also carry back what is "
    "gone. The dotted line is random change of the same size.",
    "weight_restoration": "Each line restores neurons in the order of one ranking. The further it runs above "
    "random neurons, the more that ranking knows of the causes; where all are restored, all lines "
    "meet.",
    "weight_path": "Plum: the change of these weights took the answers away. Light blue: it worked "
    "against the forgetting.",
    "logit_lens": "Above chance after unlearning: the answers are still there to be read, at that depth. "
    "Below chance they are pushed down, which gives them away as well.",
    "depth_score": "The closer the plum line comes to the grey one, the more of what the model "
    "knew at that depth is gone.",
}
"""How to read each figure, in one line or two."""


def _of_returns(diagnosis: Diagnosis) -> dict[str, go.Figure]:
    """Figures of what comes back."""
    low_rank, drawn = diagnosis.finding("low_rank_restoration"), {}
    ranks, interpolation = table(low_rank, "ranks"), table(low_rank, "interpolation")
    if ranks is not None and interpolation is not None:
        drawn["low_rank_restoration"] = low_rank_restoration(ranks, interpolation)
    if (curve := table(diagnosis.finding("relearning_probe"), "curve")) is not None:
        drawn["relearning_probe"] = relearning_probe_curve(curve)
    if (curves := ranking_table(diagnosis.finding("weight_restoration"), "curves")) is not None:
        drawn["weight_restoration"] = weight_restoration_curve(curves, diagnosis.unit)
    return drawn


def _of_places(diagnosis: Diagnosis) -> dict[str, go.Figure]:
    """Figures of where it was lost, and where it can still be read."""
    drawn = {}
    if (modules := table(diagnosis.finding("weight_path"), "modules")) is not None:
        drawn["weight_path"] = weight_map(modules)
    if (layers := table(diagnosis.finding("logit_lens"), "layers")) is not None:
        drawn["logit_lens"] = lens_accuracy(layers)
    if (patched := table(diagnosis.finding("depth_score"), "layers")) is not None:
        drawn["depth_score"] = patched_layers(patched)
    return drawn
