"""Elastic weight consolidation: R = Σ F ⊙ (φ − φ₀)², F the retained facts' diagonal Fisher.

Kirkpatrick et al., arXiv 1612.00796, Eq. 3 (their λ/2 is λ here). F = (1/n) Σ_x (∂log P(y|x)/∂φ)²
over retained facts and their own answers (the empirical Fisher), measured once, before the first
step. A control: a price on weights that matter to what is kept, instead of on negative influence.
"""

import random
from dataclasses import dataclass

import torch

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import answer_logits
from neuronscope.models.sharded import total_of
from neuronscope.models.targets import Answers, Target
from neuronscope.objectives import Gradients, Step, TrainingState
from neuronscope.regularizers._base import Memory, Penalty, Regularizer
from neuronscope.regularizers._weights import START, copied, trained

FISHER = "fisher/"


@dataclass(frozen=True)
class EWC(Regularizer):
    """Spare the weights that retained facts depend on: is that protection enough?"""

    strength: float = 1.0
    """λ. No value is known to be good: give it the relative of the run it is compared with."""

    fisher_facts: int = 64
    """On how many retained facts, at most, their weight is measured; each costs one backward pass
    before training."""

    seed: int = 0
    """Which facts, where there are more."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fisher_facts < 1:
            raise ValueError(f"Expected 1 or more fisher_facts, got {self.fisher_facts}.")

    def check_facts(self, facts: FactSet) -> None:
        if not facts.retain:
            raise ValueError(
                f"{facts.source or 'The facts'}: no fact of split 'retain', on which ewc measures "
                "what to spare: mark some, or take another regularizer."
            )

    def start(self, training: TrainingState, facts: FactSet) -> Memory:
        self.check_facts(facts)
        count = min(self.fisher_facts, len(facts.retain))
        chosen = random.Random(self.seed).sample(facts.retain, count)
        fisher = {
            FISHER + name: torch.zeros_like(weight)
            for name, weight in trained(training.model).items()
        }
        for fact in chosen:
            for name, slope in log_prob_gradient(training, FactSet(retain=(fact,))).items():
                fisher[FISHER + name] += slope.square() / len(chosen)
        return copied(training.model, START) | fisher

    def __call__(self, step: Step, memory: Memory) -> tuple[Penalty, Memory]:
        gradient, value = Gradients(), 0.0
        for name, weight in trained(step.training.model).items():
            apart, fisher = weight - memory[START + name], memory[FISHER + name]
            value += total_of([fisher * apart.square()])
            gradient[name] = 2 * fisher * apart
        return Penalty(gradient, value, {}), memory


def log_prob_gradient(training: TrainingState, facts: FactSet) -> Gradients:
    """∂log P(y|x)/∂φ, summed over retained facts. Every process computes the same."""
    model = training.model
    batch = training.asked(facts.retain)
    answers = Answers.of(batch)
    parameters = dict(model.hf.named_parameters())
    with torch.enable_grad():
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
        # By .backward(), not autograd.grad: wrappers that share the work reduce only .grad.
        Target("log_prob", "sum")(logits, answers).sum().backward()
    found = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    model.hf.zero_grad(set_to_none=True)
    return found
