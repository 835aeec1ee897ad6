"""Numbers with their intervals, as rows of text and as marks on a common scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.report.tables import interval, number, share

NOTHING = (math.nan, math.nan)
"""The interval of what has none."""


Track = dict[str, float]
"""Places on a horizontal scale, in percent of its width: `at`, `low`, `high`; `zero`, where 0 lies;
`noise`, how far chance reaches on both sides of it."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, as text; where it lies on the scale that its rows share."""

    name: str
    text: str
    note: str
    value: float
    low: float
    high: float
    chance: float = 0.0
    """Up to where chance alone would lead."""

    track: Track | None = None
    """None where there is no number."""


def estimate(
    name: str, value: float, ci95: tuple[float, float], note: str = "", chance: float = 0.0
) -> Estimate:
    """A number with its interval."""
    return Estimate(name, f"{number(value)} {interval(ci95)}".rstrip(), note, value, *ci95, chance)


def counted(name: str, hits: int, total: int, note: str = "") -> Estimate:
    """A count of answers; on the scale, its share with the 95 % Wilson interval."""
    ci95 = wilson_interval(hits, total)
    return Estimate(name, f"{hits} of {total}", note, hits / total, *ci95)


def percent(value: float, ci95: tuple[float, float]) -> str:
    """A share with its interval, in percent."""
    bounds = "" if math.isnan(ci95[0] + ci95[1]) else f" [{share(ci95[0])}, {share(ci95[1])}]"
    return share(value) + bounds


def on_scale(
    estimates: Sequence[Estimate], least: float = 0.0, most: float | None = None
) -> tuple[Estimate, ...]:
    """The estimates on one scale, that holds all intervals and goes from `least` to `most`.

    Args:
        least: Where the scale begins, or further left if an interval does.
        most: Where it ends, or further right; where the intervals do, if there is none.
    """
    marks = [
        mark
        for one in estimates
        for mark in (one.value, one.low, one.high, one.chance, -one.chance)
        if not math.isnan(mark)
    ]
    first = min([least, *marks])
    last = max([least if most is None else most, *marks])
    width = (last - first) or 1.0

    def place(value: float) -> float:
        return 100 * (value - first) / width

    def track(one: Estimate) -> Track | None:
        if math.isnan(one.value):
            return None
        low, high = (one.value if math.isnan(end) else end for end in (one.low, one.high))
        marks = {"at": one.value, "low": low, "high": high, "zero": 0.0}
        noise = 0.0 if math.isnan(one.chance) else 100 * one.chance / width
        return {name: place(mark) for name, mark in marks.items()} | {"noise": noise}

    return tuple(replace(one, track=track(one)) for one in estimates)
