"""Damping: R = Σ(φ_t − φ_{t−1})², the step-to-step form of SSIUU without any attribution.

∇R = 2(φ_t − φ_{t−1}) pulls back a share of the last update. Under gradient descent with learning
rate η that is momentum of −2ηλ. A control for SSIUU with anchor `previous`: is it attribution that
matters, or are smaller steps enough?
"""

from dataclasses import dataclass

from neuronscope.objectives import Step
from neuronscope.regularizers._base import Memory, Penalty, Regularizer
from neuronscope.regularizers._weights import copied, squared_distance, trained

PREVIOUS = "previous/"


@dataclass(frozen=True)
class Damping(Regularizer):
    """Pull back a share of each update: does SSIUU do more than take smaller steps?"""

    strength: float = 1.0
    """λ. No value is known to be good: give it the relative of the run it is compared with."""

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        model = step.training.model
        later: Memory = dict(copied(model, PREVIOUS))
        if not memory:
            return Penalty({}, 0.0, {}), later
        return Penalty(*squared_distance(trained(model), memory, PREVIOUS), {}), later
