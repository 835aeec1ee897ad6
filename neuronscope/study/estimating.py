"""What a study will take, before it is begun: passes counted, and one timed."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from neuronscope.attacks._base import Attack
from neuronscope.attacks._relearning import Relearning
from neuronscope.causal import views_called
from neuronscope.facts import FactSet
from neuronscope.loading import load_model
from neuronscope.models import answer_logits
from neuronscope.prompts import Batch, encode
from neuronscope.study.plan import Plan, Step
from neuronscope.targets import Answers, Target

GIB = 2**30
TRAINED_COPIES = 5
"""Of the trained weights, in training: themselves, their gradient, AdamW's two, a regularizer's."""

TIMED = 5
"""Passes that are timed; the fastest counts."""

CAUSAL_PASSES = 40
"""Forward and backward passes over the facts that a causal view takes, in round numbers."""


@dataclass(frozen=True)
class Estimate:
    """What is expected of one step at most; a stop rule may end a run long before."""

    step: Step
    seconds: float


@dataclass(frozen=True)
class Pace:
    """How fast a model is on this machine."""

    seconds: float
    """Forward and backward of one fact."""

    memory: int
    """Bytes of a training run."""


def pace_of(plan: Plan, facts: FactSet) -> Pace:
    """Load the model and time one pass."""
    model = load_model(plan.study.model)
    asked = [encode(fact, model.tokenizer, plan.study.form) for fact in facts.forget[:8]]
    batch = Batch.of(asked, model.device)
    answers = Answers.of(batch)
    times = []
    for _ in range(TIMED):
        began = time.perf_counter()
        with torch.enable_grad():
            Target()(answer_logits(model, batch.tokens[:, :-1], answers), answers).sum().backward()
        times.append(time.perf_counter() - began)
        model.hf.zero_grad(set_to_none=True)
    weights = sum(p.numel() for p in model.hf.parameters()) * 4
    return Pace(min(times) / len(asked), TRAINED_COPIES * weights)


def estimates(plan: Plan, facts: FactSet, pace: Pace, left: Sequence[Step]) -> list[Estimate]:
    """The time of each step that is left."""
    return [Estimate(step, pace.seconds * _passes(plan, facts, step)) for step in left]


def _passes(plan: Plan, facts: FactSet, step: Step) -> float:
    """How many facts are passed forward and backward; a third of that for one forward pass."""
    study, everything = plan.study, len(list(facts))
    if step.kind == "unlearn":
        (method,) = (m for m in study.methods if m.name == step.subject)
        assert step.seed is not None, "runs have seeds"
        config = study.config_of(method, step.seed)
        a_step = min(config.forget_batch, len(facts.forget))
        a_step += min(config.retain_batch, len(facts.retain))
        if method.regularizer is not None:
            a_step += 3 * min(config.forget_batch, len(facts.forget))
        a_look = len(facts.forget) + min(config.evaluate_facts, len(facts.retain))
        return config.steps * (a_step + a_look / config.evaluate_every / 3)
    if step.kind == "attack":
        return _attack_passes(study.attack(study.attack_names[step.what]), facts)
    if step.kind == "score":
        return float(everything * (1 + len(study.metrics)))
    told = study.diagnosing
    assert told is not None, "there would be no such step"
    recorded = 2.0 * len(facts.forget) * (1 if told.attribution == "gradient-x-activation" else 30)
    if step.kind == "diagnose":
        recorded += CAUSAL_PASSES * len(views_called(told.views)) * len(facts.forget)
    return recorded


def _attack_passes(attack: Attack, facts: FactSet) -> float:
    a_look = (len(facts.forget) + min(attack.retain_facts, len(facts.retain))) / 3
    if not isinstance(attack, Relearning):
        return 10 * a_look
    runs = len(attack.learning_rates) * len(attack.seeds)
    looks = math.ceil(attack.steps / attack.evaluate_every) + 1
    return runs * (attack.steps * attack.batch + looks * a_look)
