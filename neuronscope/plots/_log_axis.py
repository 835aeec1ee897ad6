"""A logarithmic axis that also shows 0, to the left of all other values."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

FEW = 6
"""Maximum number of tick labels on a narrow page."""

ZERO = 2.5
"""0 is drawn at the smallest positive value divided by this."""


def place_of_zero(values: Iterable[float]) -> float:
    """The position of 0 on an axis that shows these values."""
    positive = [value for value in values if value > 0]
    return min(positive) / ZERO if positive else 1.0


def places(values: Iterable[float], zero: float) -> Float[np.ndarray, " value"]:
    """The positions of values on the axis, with 0 drawn at `zero`."""
    drawn = np.asarray(list(values), dtype=float)
    return np.where(drawn == 0, zero, drawn)


def ticks(values: Iterable[float], zero: float = 0.0) -> dict[str, Any]:
    """Ticks for an axis that shows these values: the values themselves if few, else round numbers.

    Returns:
        `tickvals` and `ticktext` of the axis.
    """
    shown = sorted({float(value) for value in values})
    positive = [value for value in shown if value > 0]
    at = [0.0] * (0.0 in shown)
    at += positive if len(shown) <= FEW else _round_numbers(positive[0], positive[-1])
    return {"tickvals": places(at, zero).tolist(), "ticktext": [label(value) for value in at]}


def label(value: float) -> str:
    """A number formatted as a tick label."""
    if value == 0 or 1e-3 <= value < 1e5:
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    digits, exponent = f"{value:.2e}".split("e")
    power = f"10<sup>{int(exponent)}</sup>".replace("-", "−")
    digits = digits.rstrip("0").rstrip(".")
    return power if digits == "1" else f"{digits}·{power}"


def _round_numbers(low: float, high: float) -> list[float]:
    """At least three round numbers from `low` to `high`, where possible.

    Powers of ten; if fewer than three fit, 1 and 3 times powers of ten; if still fewer, 1, 2 and 5
    times powers of ten.
    """
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    inside: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5)):
        numbers = (float(f"{digit}e{decade}") for decade in decades for digit in digits)
        inside = [number for number in numbers if low <= number <= high]
        if len(inside) >= 3:
            break
    return inside[:: -(-len(inside) // FEW)] if inside else [low, high]
