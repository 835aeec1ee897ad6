"""A symmetric logarithmic axis: linear around zero, logarithmic on both sides (asinh).

plotly has no such axis, so the coordinates are transformed and the ticks are labelled with the true
values.
"""

import numpy as np
from jaxtyping import Float

DECADES = 5
"""Number of powers of ten below the largest value that the axis resolves."""


def linear_part(values: Float[np.ndarray, " value"]) -> float:
    """Half-width of the linear part: the power of ten at or just below the median magnitude.

    It is at most `DECADES` powers of ten below the largest magnitude.
    """
    magnitude = np.abs(values[values != 0])
    if len(magnitude) == 0:
        return 1.0
    lowest = np.floor(np.log10(magnitude.max())) - DECADES
    return float(10.0 ** max(np.floor(np.log10(np.median(magnitude))), lowest))


def to_axis(values: Float[np.ndarray, "*shape"], linear: float) -> Float[np.ndarray, "*shape"]:
    """Transform values to coordinates on the axis."""
    return np.arcsinh(values / linear)


def from_axis(places: Float[np.ndarray, "*shape"], linear: float) -> Float[np.ndarray, "*shape"]:
    """Transform coordinates on the axis to values."""
    return linear * np.sinh(places)


def ticks(linear: float, largest: float) -> tuple[list[float], list[str]]:
    """Positions and labels of zero and of a few powers of ten."""
    low = round(float(np.log10(linear)))
    high = max(int(np.floor(np.log10(largest))), low) if largest > 0 else low
    places, labels = [0.0], ["0"]
    for exponent in list(range(high, low, -max(1, round((high - low) / 3)))) or [high]:
        label = "1" if exponent == 0 else f"10<sup>{exponent}</sup>".replace("-", "−")
        for sign, minus in ((1, ""), (-1, "−")):
            places.append(sign * float(np.arcsinh(10.0**exponent / linear)))
            labels.append(minus + label)
    return places, labels
