"""Squared distance to the original model: R = Σ(φ − φ₀)², ∇R = 2(φ − φ₀).

A control for SSIUU with anchor `reference`: does attribution matter, or does it suffice to stay
near the original model?
"""

from dataclasses import dataclass

from neuronscope.facts.fact import FactSet
from neuronscope.objectives import Step, TrainingState
from neuronscope.regularizers._base import Memory, Penalty, Regularizer
from neuronscope.regularizers._weights import START, copied, squared_distance, trained


@dataclass(frozen=True)
class L2ToReference(Regularizer):
    """Penalize the distance to the original model. A control: does attribution matter?"""

    def start(self, training: TrainingState, facts: FactSet) -> Memory:
        del facts
        return dict(copied(training.model, START))

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        gradient, value = squared_distance(trained(step.training.model), memory, START)
        return Penalty(gradient, value, {}), memory
