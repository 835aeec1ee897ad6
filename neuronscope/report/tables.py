"""The numbers of the page as rows of text."""

import math
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.analysis.statistics import wilson_interval
from neuronscope.plots import expert_places
from neuronscope.report.words import score_meaning, spurious_meaning
from neuronscope.results.recording import Provenance

TOP_NEURONS = 30
TOP_FACTS = 1000
"""Most facts in the page's table."""


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


@dataclass(frozen=True)
class Row:
    """A line of numbers, and what they are in plain words."""

    name: str
    cells: tuple[str, ...]
    meaning: str = ""


@dataclass(frozen=True)
class Link:
    """Where a reader can go from a cell."""

    text: str
    address: str


@dataclass(frozen=True)
class Cell:
    """What is shown, and what its column is sorted by."""

    text: str
    key: int | float | str

    notes: tuple[str, ...] = ()
    """Small lines below the text."""

    links: tuple[Link, ...] = ()
    """Below these."""


@dataclass(frozen=True)
class Table:
    """A table that can be sorted by any column."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: int
    """How many rows there would be if none were left out."""


def number(value: float) -> str:
    """Three significant digits; a dash where there is no number."""
    if math.isnan(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}".replace("-", "−")
    digits, _, exponent = f"{value:#.3g}".partition("e")
    power = "·10" + str(int(exponent)).translate(_RAISED) if exponent else ""
    return "0" if value == 0 else digits.rstrip(".").replace("-", "−") + power


def interval(bounds: tuple[float, float]) -> str:
    """Both bounds in brackets; nothing where they are missing."""
    if math.isnan(bounds[0]) or math.isnan(bounds[1]):
        return ""
    return f"[{number(bounds[0])}, {number(bounds[1])}]"


def share(value: float) -> str:
    """A share in percent; a dash where there is no number."""
    if math.isnan(value):
        return "–"
    digits = 0 if abs(value) >= 0.1 or value == 0 else 2
    return f"{100 * value:.{digits}f}\u00a0%".replace("-", "−")


def count(hits: int, total: int) -> str:
    """`hits` of `total`, and the 95 % Wilson interval of the rate, in percent."""
    low, high = wilson_interval(hits, total)
    return f"{hits} of {total} [{100 * low:.0f}–{100 * high:.0f}\u00a0%]"


def before_and_after(diagnosis: Diagnosis) -> list[Row]:
    """What the facts to be forgotten score before and after, and the change."""
    low, high = diagnosis.drop_ci95
    change = f"{number(-diagnosis.drop)} {interval((-high, -low))}"
    answers = diagnosis.answered_after - diagnosis.answered_before
    gain = diagnosis.probability_after - diagnosis.probability_before
    return [
        Row(
            "Answered",
            (
                count(diagnosis.answered_before, diagnosis.n_facts),
                count(diagnosis.answered_after, diagnosis.n_facts),
                f"{answers:+d}".replace("-", "−"),
            ),
            "Facts whose answer comes out by greedy decoding. In brackets the 95 % Wilson "
            "interval of the rate.",
        ),
        Row(
            f"Score ({diagnosis.target}, {diagnosis.unit})",
            (number(diagnosis.score_before), number(diagnosis.score_after), change),
            f"{score_meaning(diagnosis.target, diagnosis.unit)} In brackets the change's 95 % "
            "bootstrap interval over facts; turned round, it is the drop.",
        ),
        Row(
            "Probability",
            (
                number(diagnosis.probability_before),
                number(diagnosis.probability_after),
                number(gain),
            ),
            "Of the whole answer: the product over its tokens, averaged over facts.",
        ),
    ]


def measures(diagnosis: Diagnosis) -> list[Row]:
    """What the neurons say, each number with its meaning."""
    unit = diagnosis.unit
    bounds = diagnosis.hidden_share_ci95
    spread = "" if math.isnan(bounds[0]) else f" [{share(bounds[0])}, {share(bounds[1])}]"
    spurious = "not tested"
    if diagnosis.n_spurious is not None:
        spurious = f"{diagnosis.n_spurious:,} of {len(diagnosis.neurons):,}"
    return [
        Row(
            "Hidden share" if diagnosis.verdict is None else "Hidden share, by attributions",
            (share(diagnosis.hidden_share) + spread,),
            "How much of the neurons' change is negative influence gained: D⁻ / (D⁺ + D⁻), summed "
            "over all recorded neurons. 0 % is all erased, 100 % all hidden. In brackets the 95 % "
            "bootstrap interval over facts.",
        ),
        Row(
            "D⁺ at 100",
            (f"{number(diagnosis.d_plus_at_100)} {unit}",),
            "How much positive influence the hundred neurons lost that lost most: support for "
            "the answers that is gone. Speaks for erasing.",
        ),
        Row(
            "D⁻ at 100",
            (f"{number(diagnosis.d_minus_at_100)} {unit}",),
            "How much negative influence the hundred neurons gained that gained most: opposition "
            "to the answers that is new. Speaks for hiding.",
        ),
        Row(
            "Spurious neurons",
            (spurious,),
            spurious_meaning(diagnosis),
        ),
    ]


def cell(value: str | bool | int | float) -> Cell:
    """A value as a table shows it; whole numbers are places counted from 0, −1 is none."""
    if isinstance(value, str):
        return Cell(value, value)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", int(value))
    if isinstance(value, int):
        return Cell("–" if value < 0 else str(value), value)
    return Cell(number(value), value)


def sortable(table: pd.DataFrame, header: tuple[str, ...], total: int) -> Table:
    """Every row of `table` as cells."""
    rows = tuple(tuple(map(cell, row)) for row in table.itertuples(index=False, name=None))
    return Table(header, rows, total)


def neuron_table(neurons: pd.DataFrame) -> Table:
    """The neurons whose negative influence grew most: the spurious ones, or all if none is."""
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
    """Each fact's scores, those to be forgotten first."""
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
    """The completeness error, and how large it is beside the drop."""
    text = f"{number(diagnosis.completeness_error)} {diagnosis.unit}"
    if diagnosis.drop == 0:
        return text
    return f"{text}, {share(diagnosis.completeness_error / abs(diagnosis.drop))} of the drop"


def certificate_table(completeness: pd.DataFrame) -> Table:
    """The largest error of each layer, before and after."""
    header = ("site", "layer", "before", "after")
    return sortable(completeness.loc[:, list(header)], header, len(completeness))


def provenance_rows(diagnosis: Diagnosis) -> list[Row]:
    """Both recordings side by side; one cell where they agree."""
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
