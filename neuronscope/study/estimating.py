"""What a study will take, before it is begun: passes counted, and one timed."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neuronscope.analysis.retention import prompts_of
from neuronscope.attacks import Attack as AttackMethod
from neuronscope.attacks import Relearning, Scene, Trial
from neuronscope.attribution import Attribution
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.evidence import Evidence, default_views
from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.metrics import Metric
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.loading import load_model
from neuronscope.models.targets import Answers, Target
from neuronscope.stopping import StopRule
from neuronscope.stopping.extraction import Extraction
from neuronscope.study.plan import Plan, Step
from neuronscope.study.stability import Stability
from neuronscope.tasks import Task, choose_facts
from neuronscope.tasks.attack import Attack
from neuronscope.tasks.diagnose import Diagnose
from neuronscope.tasks.methods import several
from neuronscope.tasks.record import Record
from neuronscope.tasks.score import Score
from neuronscope.tasks.unlearn import Unlearn
from neuronscope.training import TrainingConfig

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


def estimate_study(plan: Plan, out: Path) -> tuple[list[Estimate], Pace]:
    """The time of each step that is not done, on this machine."""
    study = plan.study
    began = time.perf_counter()
    model = load_model(study.model)
    pace = pace_of(model, load_facts(study.facts), study.form, time.perf_counter() - began)
    return estimates([step for step in plan.once if not step.done(out)], model, pace), pace


def estimates(steps: Sequence[Step], model: HookedModel, pace: Pace) -> list[Estimate]:
    """The time of each step.

    Args:
        model: The study's, before unlearning.
    """
    return [
        Estimate(step, MODELS * pace.loading + _seconds(step.task, model, pace)) for step in steps
    ]


def _seconds(task: Task[Any], model: HookedModel, pace: Pace) -> float:
    match task:
        case Unlearn():
            return _unlearning(task, pace)
        case Attack(attack=attack, facts=facts):
            retain = facts.retain[: attack.retain_facts]
            scene = Scene(model, facts.forget, retain, task.form, task.form)
            return sum(_attacking(attack, trial, scene, pace) for trial in attack.trials(scene))
        case Score():
            return _scoring(task, pace)
        case Record(attribution=attribution, facts=facts):
            return _recording(attribution, facts, pace)
        case Diagnose():
            judged = choose_facts(task.facts, task.split, task.null_facts, task.seed)
            views = several("evidence", task.views, Evidence, task.seed, default_views)
            return CAUSAL_PASSES * len(views) * pace.of(len(list(judged)))
        case Stability(attack=attack):
            scene = attack.scene(model, task.facts, task.form, task.form)
            seconds = _training(attack, attack.trials(scene)[0], scene, pace)
            return seconds + _recording(task.attribution, task.recorded, pace)
    raise TypeError(f"{type(task).__name__}: no estimate of such a task.")


def _recording(attribution: Attribution, facts: FactSet, pace: Pace) -> float:
    passes = 1 if isinstance(attribution, GradientXActivation) else ATTRIBUTION_PASSES
    return passes * pace.of(len(list(facts)))


def _unlearning(task: Unlearn, pace: Pace) -> float:
    config: TrainingConfig = task.training
    facts: FactSet = task.facts
    size, forget = config.micro_batch, min(config.forget_batch, len(facts.forget))
    retain = min(config.retain_batch, len(facts.retain))
    own = WITH_REFERENCE if task.objective.needs_reference else 1
    update = own * (pace.of(forget, size) + pace.of(retain, size)) + UPDATE * pace.alone
    if task.regularizer is not None:
        update += WITH_REGULARIZER * pace.of(forget, size)
    asked = len(facts.forget) + min(config.evaluate_facts, len(facts.retain))
    look = FORWARD * pace.of(asked)
    if task.stop is not None:
        look += FORWARD * (1 + _written(task.stop, pace)) * pace.of(len(facts.forget))
    looks = math.ceil(config.steps / config.evaluate_every) + 1
    before = PREPARING * (len(facts.forget) + len(facts.retain)) * pace.alone
    return before + config.steps * update + looks * look


def _attacking(attack: AttackMethod, trial: Trial, scene: Scene, pace: Pace) -> float:
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


def _scoring(task: Score, pace: Pace) -> float:
    everything = [fact for _, fact in task.facts]
    seconds = FORWARD * pace.of(len(prompts_of(task.facts)))
    for metric in () if task.metrics == "none" else task.metrics:
        # Twice: by some metrics another model reads as well, others read an answer for two parts.
        read = 2 * sum(len(metric.texts(fact, task.form)) for fact in everything)
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
