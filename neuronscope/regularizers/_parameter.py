"""The penalty on scalar parameters: arXiv 2509.22263, Eq. 12-14 and Algorithm 1.

    A = φ ⊙ g,  g = Σ_batch ∂F/∂φ          (12)
    ∂A_i/∂φ_j ≈ δ_ij g_i                    (13: g is taken as constant)
    ∇R ≈ 2 · 1[A_t < 0] · (A_t − A_a) ⊙ g   (14)

Beside weights and gradients there live, each as large as they: A_t, A_{t−1} and g, which ∇R
replaces one parameter at a time.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.regularizers._base import Penalty, State
from neuronscope.regularizers._negative import ATTRIBUTION, Tally, paid
from neuronscope.regularizers._scores import mean_over_step, scores_of
from neuronscope.regularizers._settings import NegativeInfluence
from neuronscope.regularizers._weights import START, standing_at, trained
from neuronscope.sharded import squares_of, total_of
from neuronscope.student import Gradients, Portion, Step


def parameter_penalty(rule: NegativeInfluence, step: Step, state: State) -> tuple[Penalty, State]:
    """The penalty at one step with each scalar parameter as a unit, and what is remembered.

    At the first step there is none, unless the anchor is the model before.
    """
    slopes, mean = _slopes(rule, step)
    anchors = _anchors(rule, step, state)
    gradient, memory, tally = Gradients(), State(), Tally()
    for name, weight in trained(step.student.model).items():
        # Taken out, so that what follows may free it.
        slope = slopes.pop(name, None)
        now = torch.zeros_like(weight) if slope is None else weight * slope
        negative = now < 0
        tally.negative += total_of([negative])
        tally.units += now.numel()
        anchor = anchors.get(ATTRIBUTION + name)
        if anchor is not None and slope is not None:
            change = paid(now, anchor, negative, rule.one_sided)
            tally.value += squares_of([change])
            tally.growth -= total_of([change if rule.one_sided else change.clamp(max=0)])
            gradient[name] = change.mul_(2).mul_(slope)
        if rule.anchor != "reference":
            memory[ATTRIBUTION + name] = rule.next(anchor, now)
    kept = {key: tensor for key, tensor in state.items() if key.startswith(START)}
    return Penalty(gradient, tally.value, tally.figures(mean)), kept | memory


def _slopes(rule: NegativeInfluence, step: Step) -> tuple[Gradients, float | None]:
    """The student's g, and the mean target where a pass was made that shows it."""
    if rule.wants_log_prob_gradient and step.log_prob_gradient is not None:
        return dict(step.log_prob_gradient), None
    seen: dict[Portion, Float[Tensor, ""]] = {}

    def score(portion: Portion) -> Float[Tensor, ""]:
        seen[portion] = scores_of(step.student.model, portion, rule.explained).sum()
        return seen[portion]

    slopes = step.gradient(score)
    return dict(slopes), mean_over_step(step, seen)


def _anchors(rule: NegativeInfluence, step: Step, state: State) -> State:
    """A_a of each parameter; none at a first step that has nothing to look back to."""
    if rule.anchor != "reference":
        return state
    model = step.student.model

    def score(portion: Portion) -> Float[Tensor, ""]:
        return scores_of(model, portion, rule.explained).sum()

    with standing_at(model, state):
        slopes = step.gradient(score)
    return {ATTRIBUTION + name: state[START + name] * slope for name, slope in slopes.items()}
