"""Numbers with their intervals, as rows of text and as marks on a common scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.report.numbers import Interval, estimated

Track = dict[str, float]
"""Positions on a horizontal scale, in percent of its width: `at`, `low`, `high`; `zero`, the
position of 0; `noise`, the half-width of the range that chance explains."""


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, as text and as a position on the scale of its table."""

    name: str
    text: str
    note: str
    value: float
    low: float
    high: float
    chance: float = 0.0
    """The largest absolute value that chance explains."""

    track: Track | None = None
    """None without a number."""


def estimate(
    name: str, value: float, ci95: Interval, note: str = "", chance: float = 0.0
) -> Estimate:
    """A number with its interval."""
    return Estimate(name, estimated(value, ci95), note, value, *ci95, chance)


def counted(name: str, hits: int, total: int, note: str = "") -> Estimate:
    """A count of answers; the scale shows its share with the 95 % Wilson interval."""
    ci95 = wilson_interval(hits, total)
    return Estimate(name, f"{hits} of {total}", note, hits / total, *ci95)


def on_scale(
    estimates: Sequence[Estimate], least: float = 0.0, most: float | None = None
) -> tuple[Estimate, ...]:
    """Place the estimates on one scale that contains all intervals.

    Args:
        least: Left end of the scale, unless an interval reaches further left.
        most: Right end, unless an interval reaches further right; by default set by the intervals.
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
