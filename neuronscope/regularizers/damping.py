"""Damping: R = Σ(φ_t − φ_{t−1})², the step-to-step form of SSIUU without attribution.

∇R = 2(φ_t − φ_{t−1}) reverses a share of the last update. Under gradient descent with learning rate
η this is momentum of −2ηλ. A control for SSIUU with anchor `previous`: does attribution matter, or
do smaller steps suffice?
"""

from dataclasses import dataclass

from neuronscope.objectives import Step
from neuronscope.regularizers._base import Memory, Penalty, Regularizer
from neuronscope.regularizers._weights import copied, squared_distance, trained

PREVIOUS = "previous/"


@dataclass(frozen=True)
class Damping(Regularizer):
    """Reverse a share of each update. A control: does SSIUU do more than take smaller steps?"""

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        model = step.training.model
        later: Memory = dict(copied(model, PREVIOUS))
        if not memory:
            return Penalty({}, 0.0, {}), later
        return Penalty(*squared_distance(trained(model), memory, PREVIOUS), {}), later
