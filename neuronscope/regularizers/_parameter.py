"""The penalty on scalar parameters: arXiv 2509.22263, Eq. 12-14 and Algorithm 1.

    A = φ ⊙ g,  g = Σ_batch ∂F/∂φ          (12)
    ∂A_i/∂φ_j ≈ δ_ij g_i                    (13: g is treated as constant)
    ∇R ≈ 2 · 1[A_t < 0] · (A_t − A_a) ⊙ g   (14)

In addition to weights and gradients, memory holds A_{t−1} and g, which have the same size. The
results overwrite them block by block: A_t overwrites A_{t−1}, and ∇R overwrites g.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.models.sharded import added, blocks, inner
from neuronscope.objectives import Gradients, Portion, Step
from neuronscope.regularizers._base import Memory, Penalty
from neuronscope.regularizers._negative import ATTRIBUTION, Tally, penalized_change
from neuronscope.regularizers._scores import mean_over_step, scores_of
from neuronscope.regularizers._settings import NegativeInfluence
from neuronscope.regularizers._weights import START, trained, with_weights


def parameter_penalty(
    rule: NegativeInfluence, step: Step, memory: Memory
) -> tuple[Penalty, Memory]:
    """The penalty on scalar parameters at one step, and the memory after it.

    At the first step the penalty is zero, unless the anchor is the reference.
    """
    slopes, mean = _slopes(rule, step)
    anchors = _anchors(rule, step, memory)
    gradient, later, sums, weight = Gradients(), Memory(), _Sums(), None
    for name, weight in trained(step.training.model).items():
        # A parameter that does not affect the target has no influence.
        slope = slopes[name] if name in slopes else torch.zeros_like(weight)
        before = anchors.get(ATTRIBUTION + name)
        anchor = torch.empty_like(weight) if before is None else before
        for of_weight, of_slope, of_anchor in blocks(weight, slope, anchor):
            sums.take(rule, of_weight, of_slope, of_anchor, first=before is None)
        sums.units += weight.numel()
        if before is not None and name in slopes:
            gradient[name] = slope
        if rule.anchor != "reference":
            later[ATTRIBUTION + name] = anchor
    tally = sums.tally(weight)
    kept = {key: tensor for key, tensor in memory.items() if key.startswith(START)}
    return Penalty(gradient, tally.value, tally.figures(mean)), kept | later


@dataclass(eq=False)
class _Sums:
    """Sums over this process's shards, accumulated block by block."""

    negative: list[Float[Tensor, ""]] = field(default_factory=list)
    squares: list[Float[Tensor, ""]] = field(default_factory=list)
    growth: list[Float[Tensor, ""]] = field(default_factory=list)
    units: int = 0

    def take(
        self,
        rule: NegativeInfluence,
        weight: Float[Tensor, "*axes"],
        slope: Float[Tensor, "*axes"],
        anchor: Float[Tensor, "*axes"],
        first: bool,
    ) -> None:
        """Overwrite g with ∇R and the anchor with the next anchor, and accumulate the sums.

        Args:
            first: Whether there is no anchor yet, and therefore no penalty.
        """
        now = weight * slope
        change = None if first else now - anchor
        anchor.copy_(now if first else rule.next(anchor, now))
        # As 1.0 and 0.0, because CPUs multiply by these several times faster than by booleans.
        negative = now.lt_(0)
        self.negative.append(negative.sum())
        if change is None:
            return
        penalized_change(change, negative, rule.one_sided)
        self.squares.append(inner(change, change))
        slope.mul_(change.mul_(2))
        # The change was doubled above. Growth is the sum of its negative part.
        self.growth.append((change if rule.one_sided else change.clamp_(max=0)).sum().div(-2))

    def tally(self, shard: Float[Tensor, "..."] | None) -> Tally:
        """The sums over all processes.

        Args:
            shard: One of the parameters, which shows how they are sharded.
        """
        if shard is None:
            return Tally()
        negative, value, growth = (
            added(figures, shard) if figures else 0.0
            for figures in (self.negative, self.squares, self.growth)
        )
        return Tally(value=value, growth=growth, negative=negative, units=self.units)


def _slopes(rule: NegativeInfluence, step: Step) -> tuple[Gradients, float | None]:
    """The gradient g of the model, and the mean target if a forward pass computed it."""
    if rule.wants_log_prob_gradient and step.log_prob_gradient is not None:
        return dict(step.log_prob_gradient), None
    scores: dict[Portion, Float[Tensor, ""]] = {}

    def score(portion: Portion) -> Float[Tensor, ""]:
        scores[portion] = scores_of(step.training.model, portion, rule.explained).sum()
        return scores[portion]

    slopes = step.gradient(score)
    return dict(slopes), mean_over_step(step, scores)


def _anchors(rule: NegativeInfluence, step: Step, memory: Memory) -> Memory:
    """A_a of each parameter; empty at the first step, unless the anchor is the reference."""
    if rule.anchor != "reference":
        return memory
    model = step.training.model

    def score(portion: Portion) -> Float[Tensor, ""]:
        return scores_of(model, portion, rule.explained).sum()

    with with_weights(model, memory):
        slopes = step.gradient(score)
    return {ATTRIBUTION + name: slope.mul_(memory[START + name]) for name, slope in slopes.items()}
