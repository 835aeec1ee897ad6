"""A logarithmic axis on which 0 has a place: left of all other values."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

FEW = 6
"""Labels for which a narrow page has room."""

ZERO = 2.5
"""How many times smaller than the smallest value the place of 0 is."""


def place_of_zero(values: Iterable[float]) -> float:
    """Where 0 is drawn beside these values."""
    positive = [value for value in values if value > 0]
    return min(positive) / ZERO if positive else 1.0


def places(values: Iterable[float], zero: float) -> Float[np.ndarray, " value"]:
    """Where values are drawn if 0 is drawn at `zero`."""
    here = np.asarray(list(values), dtype=float)
    return np.where(here == 0, zero, here)


def ticks(values: Iterable[float], zero: float = 0.0) -> dict[str, Any]:
    """Ticks of an axis that shows these values: at the values where they are few, else round ones.

    Returns:
        `tickvals` and `ticktext` of an axis.
    """
    shown = sorted({float(value) for value in values})
    positive = [value for value in shown if value > 0]
    at = [0.0] * (0.0 in shown)
    at += positive if len(shown) <= FEW else _round_numbers(positive[0], positive[-1])
    return {"tickvals": places(at, zero).tolist(), "ticktext": [label(value) for value in at]}


def label(value: float) -> str:
    """A number as a tick says it."""
    if value == 0 or 1e-3 <= value < 1e5:
        return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
    digits, exponent = f"{value:.2e}".split("e")
    power = f"10<sup>{int(exponent)}</sup>".replace("-", "−")
    digits = digits.rstrip("0").rstrip(".")
    return power if digits == "1" else f"{digits}·{power}"


def _round_numbers(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`: as many kinds of them as are needed for three."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    inside: list[float] = []
    for digits in ((1,), (1, 3), (1, 2, 5)):
        numbers = (float(f"{digit}e{decade}") for decade in decades for digit in digits)
        inside = [number for number in numbers if low <= number <= high]
        if len(inside) >= 3:
            break
    return inside[:: -(-len(inside) // FEW)] if inside else [low, high]
