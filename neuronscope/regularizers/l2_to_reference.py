"""Distance to the model before: R = Σ(φ − φ₀)², ∇R = 2(φ − φ₀).

A control for SSIUU with anchor `reference`: is it attribution that matters, or would staying near
the model before do as well?
"""

from dataclasses import dataclass

from neuronscope.facts.fact import FactSet
from neuronscope.objectives import Step, TrainingState
from neuronscope.regularizers._base import Memory, Penalty, Regularizer
from neuronscope.regularizers._weights import START, copied, squared_distance, trained


@dataclass(frozen=True)
class L2ToReference(Regularizer):
    """Stay near the model before: does a price on any change do what one on attribution does?"""

    strength: float = 1.0
    """λ. No value is known to be good: give it the relative of the run it is compared with."""

    def start(self, training: TrainingState, facts: FactSet) -> Memory:
        del facts
        return dict(copied(training.model, START))

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        gradient, value = squared_distance(trained(step.training.model), memory, START)
        return Penalty(gradient, value, {}), memory
