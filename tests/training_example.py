"""A tiny model that is trained on ten facts to forget and ten to retain."""

from dataclasses import dataclass, replace

import torch
from tiny import FORGET, RETAIN, tiny

from neuronscope.facts.fact import FactSet
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers, Target
from neuronscope.objectives.gradient_difference import GradientDifference
from neuronscope.objectives.npo import NPO
from neuronscope.objectives.rmu import RMU
from neuronscope.regularizers._base import Penalty, Regularizer
from neuronscope.regularizers.ssiuu import SSIUU
from neuronscope.stopping.update_norm import UpdateNorm
from neuronscope.training import TrainingConfig

FACTS = FactSet(forget=FORGET, retain=RETAIN)
CONFIG = TrainingConfig(
    steps=6, forget_batch=4, retain_batch=4, learning_rate=1e-3, evaluate_every=3
)
LOSS = GradientDifference()
UNTIMED = ("seconds", "evaluation_seconds", "peak_memory")


@dataclass(frozen=True)
class Drag(Regularizer):
    """R = ½‖θ − m‖² + Σ_x log P, where the memory m is a running average of θ."""

    strength: float = 0.5
    noise: float = 0.0

    def start(self, training, facts):
        return self._values(training)

    def __call__(self, step, state):
        now = self._values(step.training)

        def score(portion):
            answers = Answers.of(portion.batch)
            logits = answer_logits(step.training.model, portion.batch.tokens[:, :-1], answers)
            return Target("log_prob", "sum")(logits, answers).sum()

        gradient = {name: p - state[name] for name, p in now.items()}
        for name, part in step.gradient(score).items():
            gradient[name] = gradient[name] + part
        if self.noise:
            chance = {name: torch.randn(p.shape, dtype=p.dtype) for name, p in now.items()}
            gradient = {name: part + self.noise * chance[name] for name, part in gradient.items()}
        later = {name: 0.5 * state[name] + 0.5 * p for name, p in now.items()}
        count = step.total(torch.tensor(float(sum(len(p.facts) for p in step.forget))))
        return Penalty(gradient, 1.0, {"facts": float(count)}), later

    @staticmethod
    def _values(training):
        named = training.model.hf.named_parameters()
        return {name: p.detach().clone() for name, p in named if p.requires_grad}


class Interrupted(BaseException):
    """An interruption that no code of the package catches."""


@dataclass(frozen=True)
class Fragile(GradientDifference):
    """Counts `LEFT` down with every pass, and raises in the middle of a step when it reaches 0."""

    def forget(self, training, portion):
        LEFT[0] -= 1
        if LEFT[0] == 0:
            raise Interrupted
        return super().forget(training, portion)


LEFT = [0]


def config(**changes):
    return replace(CONFIG, **changes)


def model():
    return tiny("llama")


def weights(model):
    return {name: p.detach().clone() for name, p in model.hf.named_parameters()}


def same(one, other):
    """Whether two models have the same weights, bit for bit."""
    theirs = weights(other)
    return all(torch.equal(p, theirs[name]) for name, p in weights(one).items())


def distance(one, other):
    theirs = weights(other)
    return max(float((p - theirs[name]).abs().max()) for name, p in weights(one).items())


def untimed(history):
    return history.drop(columns=list(UNTIMED))


def run_of(*parts, **changes):
    """Arguments of a run for several processes; they cannot divide its 5 facts evenly."""
    objective, regularizer, stop = (*parts, None, None)[:3]
    return {
        "objective": objective,
        "facts": FACTS,
        "regularizer": regularizer,
        "stop": stop,
        "config": config(forget_batch=5, micro_batch=2, checkpoint_steps=2, **changes),
    }


RUNS = {
    "ssiuu": lambda: run_of(LOSS, SSIUU(strength=10.0)),
    "npo": lambda: run_of(NPO(), Drag(relative=0.5)),
    "rmu": lambda: run_of(RMU(), Drag()),
    "adapters": lambda: run_of(LOSS, Drag(), lora_rank=2),
    "fragile": lambda: run_of(Fragile(), Drag()),
    "stopped": lambda: run_of(LOSS, None, UpdateNorm(norm=0.2)),
}
"""Objectives that pass the model twice or only halfway, and regularizers that remember."""
