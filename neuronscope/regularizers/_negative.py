"""What is paid for: the change of influence that is negative."""

from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

ATTRIBUTION = "attribution/"
"""Begins the name under which an attribution is remembered."""


def paid(
    change: Float[Tensor, "*axes"],
    negative: Shaped[Tensor, "*#axes"],
    one_sided: bool,
) -> Float[Tensor, "*axes"]:
    """1[A_t < 0] · (A_t − A_anchor), in the place of the change: R is the sum of its squares.

    Args:
        change: A_t − A_anchor.
        negative: Where the influence of the whole batch is below zero, as booleans or as 1 and 0.
        one_sided: Only growth is paid for: min(A_t − A_anchor, 0) takes the difference's place.
    """
    return (change.clamp_(max=0) if one_sided else change).mul_(negative)


@dataclass
class Tally:
    """Counts over all units of one step."""

    value: float = 0.0
    """R."""

    growth: float = 0.0
    """By how much negative influence grew against the anchor, summed, in the target's unit."""

    negative: float = 0.0
    units: int = 0

    def figures(self, mean_target: float | None) -> dict[str, float]:
        """What is worth a column of the history."""
        share = self.negative / self.units if self.units else 0.0
        figures = {"negative_share": share, "negative_growth": self.growth}
        return figures if mean_target is None else figures | {"mean_target": mean_target}
