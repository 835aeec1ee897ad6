"""Elastic weight consolidation: R = Σ F ⊙ (φ − φ₀)², F the diagonal Fisher of the retain set.

Kirkpatrick et al., arXiv 1612.00796, Eq. 3 (their λ/2 is λ here). F = (1/n) Σ_x (∂log P(y|x)/∂φ)²
over retain-split facts and their answers (the empirical Fisher), computed once before the first
step. A control: it penalizes changes of weights that matter for the retain set, rather than changes
in negative influence.
"""

import random
from dataclasses import dataclass

import torch

from neuronscope.facts.fact import FactSet
from neuronscope.models.passes import answer_logits
from neuronscope.models.sharded import total_of
from neuronscope.models.targets import Answers, Target
from neuronscope.objectives import Gradients, Step, TrainingState
from neuronscope.regularizers._base import Memory, Penalty, Regularizer
from neuronscope.regularizers._weights import START, copied, trained

FISHER = "fisher/"


@dataclass(frozen=True)
class EWC(Regularizer):
    """Protect the weights that retain-split facts depend on. A control: does protection suffice?"""

    fisher_facts: int = 64
    """Compute the Fisher information on at most this many retain-split facts; each takes one
    backward pass before training."""

    seed: int = 0
    """Seed for the choice of these facts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fisher_facts < 1:
            raise ValueError(f"Expected fisher_facts of 1 or more, got {self.fisher_facts}.")

    def check_facts(self, facts: FactSet) -> None:
        if not facts.retain:
            raise ValueError(
                f"{facts.source or 'The facts'}: no fact has split 'retain', on which ewc computes "
                "the Fisher information; add such facts, or choose a different regularizer."
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
            difference, fisher = weight - memory[START + name], memory[FISHER + name]
            value += total_of([fisher * difference.square()])
            gradient[name] = 2 * fisher * difference
        return Penalty(gradient, value, {}), memory


def log_prob_gradient(training: TrainingState, facts: FactSet) -> Gradients:
    """∂log P(y|x)/∂φ, summed over the retain split. Every process computes all of it."""
    model = training.model
    batch = training.asked(facts.retain)
    answers = Answers.of(batch)
    parameters = dict(model.hf.named_parameters())
    with torch.enable_grad():
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
        # Not autograd.grad, because distributed wrappers reduce only .grad.
        Target("log_prob", "sum")(logits, answers).sum().backward()
    gradient = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    model.hf.zero_grad(set_to_none=True)
    return gradient
