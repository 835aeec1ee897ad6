"""The penalized change in negative influence."""

from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

ATTRIBUTION = "attribution/"
"""Prefix of the names of attributions in the memory."""


def penalized_change(
    change: Float[Tensor, "*axes"],
    negative: Shaped[Tensor, "*#axes"],
    one_sided: bool,
) -> Float[Tensor, "*axes"]:
    """1[A_t < 0] · (A_t − A_anchor), computed in place: R is the sum of its squares.

    Args:
        change: A_t − A_anchor, which is overwritten.
        negative: Where the influence over the whole batch is negative, as booleans or as 1 and 0.
        one_sided: Penalize only growth: min(A_t − A_anchor, 0) replaces the difference.
    """
    return (change.clamp_(max=0) if one_sided else change).mul_(negative)


@dataclass
class Tally:
    """Sums over all units (parameters or neurons) at one step."""

    value: float = 0.0
    """R."""

    growth: float = 0.0
    """Total growth of negative influence relative to the anchor, in the unit of the target."""

    negative: float = 0.0
    """Number of units with negative influence."""

    units: int = 0

    def figures(self, mean_target: float | None) -> dict[str, float]:
        """Columns of the history."""
        share = self.negative / self.units if self.units else 0.0
        figures = {"negative_share": share, "negative_growth": self.growth}
        return figures if mean_target is None else figures | {"mean_target": mean_target}
