"""What a study will take, before it is begun: passes counted, and one timed."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from neuronscope.analysis.retention import prompts_of
from neuronscope.attacks import Attack, Relearning, Scene, Trial
from neuronscope.evidence import views_called
from neuronscope.facts.fact import FactSet
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.metrics import Metric
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.targets import Answers, Target
from neuronscope.stopping import StopRule
from neuronscope.stopping.extraction import Extraction
from neuronscope.study.config import Study
from neuronscope.study.plan import Plan, Step
from neuronscope.tasks.choices import choose_facts

COPIES = 9
"""Of a model, in training: two that stay loaded, the one that is trained, its gradient, AdamW's
two, and a regularizer's three."""

TIMED = 5
"""Passes that are timed; the slowest counts."""

TOGETHER = 8
"""Facts in a pass that is timed."""

FORWARD = 0.5
"""Of a pass forward and backward: a third by the operations, more where there are few."""

UPDATE = 4
"""An optimizer's step and the norms around it, in passes of one fact: both read all weights."""

MODELS = 3
"""Times that a step loads, copies or saves a model, at most, besides its passes."""

WITH_REFERENCE = 3
"""Passes of an objective that reads the model before, for each fact: with DPO those of two answers,
and of the model before on both."""

WITH_REGULARIZER = 5
"""Passes of a regularizer for each fact to be forgotten: SSIUU on neurons measures twice, and
differentiates a gradient."""

PREPARING = 6
"""Passes over the facts before the first step, in which a method looks for neurons or weights."""

CAUSAL_PASSES = 80
"""Over the facts, for each causal view: what savings takes, a round number for the others."""

ATTRIBUTION_PASSES = 30
"""Of an attribution along a path, for each fact: a round number."""


@dataclass(frozen=True)
class Estimate:
    """What is expected of one step; a stop rule may end a run long before."""

    step: Step
    seconds: float


@dataclass(frozen=True)
class Pace:
    """How fast a model is on this machine, on the longest of the facts."""

    alone: float
    """Seconds of one fact forward and backward, by itself."""

    each: float
    """Seconds of one fact among others."""

    loading: float
    """Seconds of loading the model."""

    longest: int
    """Tokens of the longest fact."""

    memory: int
    """Bytes of a training run, without what the passes need."""

    def of(self, count: int, together: int = TOGETHER) -> float:
        """Seconds of some facts forward and backward."""
        return max(self.alone * math.ceil(count / together), self.each * count)


def pace_of(model: HookedModel, facts: FactSet, form: str, loading: float) -> Pace:
    """Time some passes.

    Args:
        loading: Seconds that loading the model took.
    """
    asked = sorted(
        (encode(fact, model.tokenizer, form, fact.answer) for _, fact in facts),
        key=lambda one: len(one.tokens),
    )[-TOGETHER:]
    _pass(model, asked)
    weights = sum(p.numel() for p in model.hf.parameters()) * 4
    return Pace(
        max(_pass(model, asked[-1:]) for _ in range(TIMED)),
        max(_pass(model, asked) for _ in range(TIMED)) / len(asked),
        loading,
        len(asked[-1].tokens),
        COPIES * weights,
    )


def _pass(model: HookedModel, asked: Sequence[Encoded]) -> float:
    """Seconds of one pass forward and backward."""
    batch = Batch.of(asked, model.device)
    answers = Answers.of(batch)
    began = time.perf_counter()
    with torch.enable_grad():
        score = Target()(answer_logits(model, batch.tokens[:, :-1], answers), answers).sum()
        score.backward()
    # Read from the device, which until then may still compute.
    score.item()
    took = time.perf_counter() - began
    model.hf.zero_grad(set_to_none=True)
    return took


def estimates(
    plan: Plan, facts: FactSet, model: HookedModel, pace: Pace, left: Sequence[Step]
) -> list[Estimate]:
    """The time of each step that is left.

    Args:
        model: The study's, before unlearning.
    """
    return [
        Estimate(step, MODELS * pace.loading + _seconds(plan.study, facts, model, pace, step))
        for step in left
    ]


def _seconds(study: Study, facts: FactSet, model: HookedModel, pace: Pace, step: Step) -> float:
    if step.kind == "unlearn":
        return _unlearning(study, facts, pace, step)
    if step.kind == "attack":
        attack = study.attack(study.attack_names[step.what])
        scene = Scene(
            model, facts.forget, facts.retain[: attack.retain_facts], study.form, study.form
        )
        return sum(_attacking(attack, trial, scene, pace) for trial in attack.trials(scene))
    if step.kind == "score":
        return _scoring(study, facts, pace)
    told = study.diagnosing
    assert told is not None, "there would be no such step"
    judged = choose_facts(facts, "forget", told.null_facts, 0)
    seconds = 0.0
    if step.kind == "diagnose":
        return CAUSAL_PASSES * len(views_called(told.views)) * pace.of(len(list(judged)))
    passes = (
        1 if told.attribution.replace("_", "-") == "gradient-x-activation" else ATTRIBUTION_PASSES
    )
    if step.kind == "stability":
        attack = study.after_attack
        assert attack is not None, "there would be no such step"
        scene = attack.scene(model, facts, study.form, study.form)
        seconds = _training(attack, attack.trials(scene)[0], scene, pace)
    return seconds + passes * pace.of(len(list(judged)))


def _unlearning(study: Study, facts: FactSet, pace: Pace, step: Step) -> float:
    (method,) = (m for m in study.methods if m.name == step.subject)
    assert step.seed is not None, "runs have seeds"
    made = method.made(step.seed, None if method.matches is None else Path())
    config = study.config_of(method, step.seed)
    size, forget = config.micro_batch, min(config.forget_batch, len(facts.forget))
    retain = min(config.retain_batch, len(facts.retain))
    own = WITH_REFERENCE if made.objective.needs_reference else 1
    update = own * (pace.of(forget, size) + pace.of(retain, size)) + UPDATE * pace.alone
    if made.regularizer is not None:
        update += WITH_REGULARIZER * pace.of(forget, size)
    asked = len(facts.forget) + min(config.evaluate_facts, len(facts.retain))
    look = FORWARD * pace.of(asked)
    if made.stop is not None:
        look += FORWARD * (1 + _written(made.stop, pace)) * pace.of(len(facts.forget))
    looks = math.ceil(config.steps / config.evaluate_every) + 1
    before = PREPARING * (len(facts.forget) + len(facts.retain)) * pace.alone
    return before + config.steps * update + looks * look


def _attacking(attack: Attack, trial: Trial, scene: Scene, pace: Pace) -> float:
    """Seconds of one run of an attack."""
    asked = len(trial.taught) + len(trial.rest) + len(scene.retain)
    if not isinstance(attack, Relearning):
        # The others look once at each value of a grid, which is one of their settings.
        grid = max(len(value) for value in vars(attack).values() if isinstance(value, tuple))
        return (1 + grid) * (FORWARD * pace.of(asked) + pace.loading)
    looks = math.ceil(attack.updates(len(trial.taught)) / attack.evaluate_every) + 1
    looking = looks * FORWARD * pace.of(asked) * _longer(trial, scene, pace)
    return looking + _training(attack, trial, scene, pace) + pace.loading


def _training(attack: Relearning, trial: Trial, scene: Scene, pace: Pace) -> float:
    """Seconds of one run of an attack that fine-tunes, without what is watched."""
    updates, batch = attack.updates(len(trial.taught)), min(attack.batch, len(trial.taught))
    passes = updates * pace.of(batch, batch) * _longer(trial, scene, pace)
    return passes + updates * UPDATE * pace.alone


def _longer(trial: Trial, scene: Scene, pace: Pace) -> float:
    """How much longer than the facts what is taught is, at least 1."""
    lengths = [len(encode(f, scene.model.tokenizer, scene.form).tokens) for f in trial.taught]
    return max(1.0, max(lengths) / pace.longest)


def _scoring(study: Study, facts: FactSet, pace: Pace) -> float:
    everything = [fact for _, fact in facts]
    seconds = FORWARD * pace.of(len(prompts_of(facts)))
    for metric in map(study.metric, study.metrics):
        # Twice: by some metrics another model reads as well, others read an answer for two parts.
        read = 2 * sum(len(metric.texts(fact, study.form)) for fact in everything)
        seconds += FORWARD * pace.of(read)
        seconds += FORWARD * _written(metric, pace) * pace.of(len(everything))
    return seconds


def _written(asking: Metric | StopRule, pace: Pace) -> int:
    """Tokens that the model is made to write for each fact, at most; each takes a pass forward."""
    told = vars(asking).get("max_new_tokens")
    if told is not None:
        return told
    beginnings = isinstance(asking, Extraction) or (isinstance(asking, Metric) and asking.generates)
    # From every beginning of a fact to its end.
    return pace.longest**2 if beginnings else 0
