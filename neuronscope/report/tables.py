"""The tables of a diagnosis' page."""

from dataclasses import fields

import numpy as np
import pandas as pd

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.plots import expert_places
from neuronscope.report.cells import Row, Table, sortable
from neuronscope.report.numbers import count, interval, number, share
from neuronscope.results.recording import Provenance

TOP_NEURONS = 30
"""Maximum number of neurons in the page's table."""

TOP_FACTS = 1000
"""Maximum number of facts in the page's table."""

Cells = dict[str, tuple[str, ...]]
"""Text cells of the page's key numbers, by name."""


def before_and_after(diagnosis: Diagnosis) -> Cells:
    """Answers, score and probability of the forget set: before, after and their change."""
    low, high = diagnosis.drop_ci95
    answers = diagnosis.answered_after - diagnosis.answered_before
    gain = diagnosis.probability_after - diagnosis.probability_before
    return {
        "answered": (
            count(diagnosis.answered_before, diagnosis.n_facts),
            count(diagnosis.answered_after, diagnosis.n_facts),
            f"{answers:+d}".replace("-", "−"),
        ),
        "score": (
            number(diagnosis.score_before),
            number(diagnosis.score_after),
            f"{number(-diagnosis.drop)} {interval((-high, -low))}",
        ),
        "probability": (
            number(diagnosis.probability_before),
            number(diagnosis.probability_after),
            number(gain),
        ),
    }


def measures(diagnosis: Diagnosis) -> Cells:
    """Summary numbers of the neurons' attributions."""
    unit, spurious = diagnosis.unit, "not tested"
    if diagnosis.n_spurious is not None:
        spurious = f"{diagnosis.n_spurious:,} of {len(diagnosis.neurons):,}"
    return {
        "d_plus": (f"{number(diagnosis.d_plus_sum)} {unit}",),
        "d_minus": (f"{number(diagnosis.d_minus_sum)} {unit}",),
        "d_plus_at_100": (f"{number(diagnosis.d_plus_at_100)} {unit}",),
        "d_minus_at_100": (f"{number(diagnosis.d_minus_at_100)} {unit}",),
        "spurious": (spurious,),
    }


def neuron_table(neurons: pd.DataFrame) -> Table:
    """The spurious neurons, or all neurons if none is spurious, the largest D⁻ first."""
    columns = {name: name for name in ("site", "layer", "neuron")}
    if "expert" in neurons.columns:
        expert, index = expert_places(neurons)
        neurons = neurons.assign(expert=expert, index=np.where(expert < 0, -1, index))
        columns |= {"expert": "expert", "index": "index"}
    columns |= {"before": "before", "after": "after", "d_minus": "D⁻", "d_plus": "D⁺", "q": "q"}
    if "causal_share" in neurons.columns:
        columns["causal_share"] = "causal share"
    chosen = neurons.loc[neurons["spurious"].astype(bool)]
    chosen = neurons if chosen.empty else chosen
    top = chosen.sort_values("d_minus", ascending=False, kind="stable").head(TOP_NEURONS)
    return sortable(top.loc[:, list(columns)], tuple(columns.values()), len(chosen))


def fact_table(facts: pd.DataFrame) -> Table:
    """The scores of each fact, the forget set first."""
    columns = {
        "fact": "fact",
        "split": "split",
        "score_before": "score before",
        "score_after": "after",
        "probability_before": "probability before",
        "probability_after": "after",
        "answered_before": "answered before",
        "answered_after": "after",
    }
    order = np.argsort(facts["split"].to_numpy() != "forget", kind="stable")
    shown = facts.loc[:, list(columns)].iloc[order].head(TOP_FACTS)
    return sortable(shown, tuple(columns.values()), len(facts))


def largest_error(diagnosis: Diagnosis) -> str:
    """The completeness error, in the target's unit and relative to the drop."""
    text = f"{number(diagnosis.completeness_error)} {diagnosis.unit}"
    if diagnosis.drop == 0:
        return text
    return f"{text}, {share(diagnosis.completeness_error / abs(diagnosis.drop))} of the drop"


def completeness_table(completeness: pd.DataFrame) -> Table:
    """The largest completeness error of each layer, before and after."""
    header = ("site", "layer", "before", "after")
    return sortable(completeness.loc[:, list(header)], header, len(completeness))


def provenance_rows(diagnosis: Diagnosis) -> list[Row]:
    """The provenance of both recordings; a single cell where they agree."""
    rows = []
    for field in fields(Provenance):
        pair = [
            _plain(getattr(provenance, field.name))
            for provenance in (diagnosis.provenance_before, diagnosis.provenance_after)
        ]
        rows.append(Row(field.name.replace("_", " "), tuple(dict.fromkeys(pair))))
    return rows


def _plain(value: object) -> str:
    """A field of the provenance as text."""
    if isinstance(value, dict):
        return ", ".join(f"{name} = {entry}" for name, entry in value.items()) or "–"
    if isinstance(value, tuple):
        return "; ".join(value) or "–"
    return str(value)
