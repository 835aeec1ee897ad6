"""Estimates of a study's duration and memory: a few passes are timed, the others counted."""

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
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model
from neuronscope.models.passes import answer_logits
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
"""Copies of a model's weights in training: two models that stay loaded, the trained one, its
gradient, AdamW's two moments, and three of a regularizer."""

TIMED = 5
"""Number of timed passes; the slowest counts."""

TOGETHER = 8
"""Number of facts in a timed pass."""

FORWARD = 0.5
"""Duration of a forward pass relative to a forward and backward pass: a third in operations, more
for small batches."""

UPDATE = 4
"""Duration of an optimizer step and its norms, in passes of one fact: both read all weights."""

MODELS = 3
"""Upper bound on how often a step loads, copies or saves a model."""

WITH_REFERENCE = 3
"""Passes per fact of an objective that uses the original model. DPO, for example, evaluates two
answers, both also on the original model."""

WITH_REGULARIZER = 5
"""Passes of a regularizer per forget fact: SSIUU on neurons measures twice and differentiates a
gradient."""

PREPARING = 6
"""Passes over the facts before the first step, for methods that select neurons or weights."""

CAUSAL_PASSES = 80
"""Passes over the facts per causal view: measured for the relearning probe, a round number for the
other views."""

ATTRIBUTION_PASSES = 30
"""Passes per fact of an attribution along a path; a round number."""


@dataclass(frozen=True)
class Estimate:
    """The estimated duration of one step; a stop rule may end a run much earlier."""

    step: Step
    seconds: float


@dataclass(frozen=True)
class Pace:
    """The speed of a model on this machine, on the longest facts."""

    alone: float
    """Seconds of a forward and backward pass of one fact."""

    each: float
    """Seconds per fact of a forward and backward pass of several facts."""

    loading: float
    """Seconds to load the model."""

    longest: int
    """Number of tokens of the longest fact."""

    memory: int
    """Bytes of memory of a training run, without activations."""

    def of(self, count: int, together: int = TOGETHER) -> float:
        """Seconds of a forward and backward pass over this number of facts."""
        return max(self.alone * math.ceil(count / together), self.each * count)


def pace_of(model: HookedModel, facts: FactSet, form: str, loading: float) -> Pace:
    """Time some passes.

    Args:
        loading: Seconds taken to load the model.
    """
    encoded = sorted(
        (encode(fact, model.tokenizer, form, fact.answer) for _, fact in facts),
        key=lambda one: len(one.tokens),
    )[-TOGETHER:]
    _pass(model, encoded)
    weights = sum(p.numel() for p in model.hf.parameters()) * 4
    return Pace(
        max(_pass(model, encoded[-1:]) for _ in range(TIMED)),
        max(_pass(model, encoded) for _ in range(TIMED)) / len(encoded),
        loading,
        len(encoded[-1].tokens),
        COPIES * weights,
    )


def _pass(model: HookedModel, facts: Sequence[Encoded]) -> float:
    """Seconds of one forward and backward pass."""
    batch = Batch.of(facts, model.device)
    answers = Answers.of(batch)
    began = time.perf_counter()
    with torch.enable_grad():
        score = Target()(answer_logits(model, batch.tokens[:, :-1], answers), answers).sum()
        score.backward()
    # Reading the value waits for the device to finish.
    score.item()
    seconds = time.perf_counter() - began
    model.hf.zero_grad(set_to_none=True)
    return seconds


def estimate_study(plan: Plan, out: Path) -> tuple[list[Estimate], Pace]:
    """Estimate the duration of each step that is not done, on this machine."""
    study = plan.study
    began = time.perf_counter()
    model = load_model(study.model)
    pace = pace_of(model, load_facts(study.facts), study.form, time.perf_counter() - began)
    return estimates([step for step in plan.once if not step.done(out)], model, pace), pace


def estimates(steps: Sequence[Step], model: HookedModel, pace: Pace) -> list[Estimate]:
    """Estimate the duration of each step.

    Args:
        model: The original model of the study.
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
            chosen = choose_facts(task.facts, task.split, task.null_facts, task.seed)
            views = several("evidence", task.views, Evidence, task.seed, default_views)
            return CAUSAL_PASSES * len(views) * pace.of(len(list(chosen)))
        case Stability(attack=attack):
            scene = attack.scene(model, task.facts, task.form, task.form)
            seconds = _training(attack, attack.trials(scene)[0], scene, pace)
            return seconds + _recording(task.attribution, task.recorded, pace)
    raise TypeError(f"No estimate for the task {type(task).__name__}.")


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
    evaluated = len(facts.forget) + min(config.evaluate_facts, len(facts.retain))
    evaluation = FORWARD * pace.of(evaluated)
    if task.stop is not None:
        evaluation += FORWARD * (1 + _generated(task.stop, pace)) * pace.of(len(facts.forget))
    evaluations = math.ceil(config.steps / config.evaluate_every) + 1
    before = PREPARING * (len(facts.forget) + len(facts.retain)) * pace.alone
    return before + config.steps * update + evaluations * evaluation


def _attacking(attack: AttackMethod, trial: Trial, scene: Scene, pace: Pace) -> float:
    """Seconds of one run of an attack."""
    evaluated = len(trial.taught) + len(trial.rest) + len(scene.retain)
    if not isinstance(attack, Relearning):
        # Other attacks are evaluated once for each value of a grid, which is one of their settings.
        grid = max(len(value) for value in vars(attack).values() if isinstance(value, tuple))
        return (1 + grid) * (FORWARD * pace.of(evaluated) + pace.loading)
    evaluations = math.ceil(attack.updates(len(trial.taught)) / attack.evaluate_every) + 1
    evaluating = evaluations * FORWARD * pace.of(evaluated) * _longer(trial, scene, pace)
    return evaluating + _training(attack, trial, scene, pace) + pace.loading


def _training(attack: Relearning, trial: Trial, scene: Scene, pace: Pace) -> float:
    """Seconds of one run of an attack that fine-tunes, without evaluations."""
    updates, batch = attack.updates(len(trial.taught)), min(attack.batch, len(trial.taught))
    passes = updates * pace.of(batch, batch) * _longer(trial, scene, pace)
    return passes + updates * UPDATE * pace.alone


def _longer(trial: Trial, scene: Scene, pace: Pace) -> float:
    """The length of the longest training text relative to the longest fact, at least 1."""
    lengths = [len(encode(f, scene.model.tokenizer, scene.form).tokens) for f in trial.taught]
    return max(1.0, max(lengths) / pace.longest)


def _scoring(task: Score, pace: Pace) -> float:
    everything = [fact for _, fact in task.facts]
    seconds = FORWARD * pace.of(len(prompts_of(task.facts)))
    for metric in () if task.metrics == "none" else task.metrics:
        # Twice, because some metrics also evaluate a second model, and others an answer in parts.
        texts = 2 * sum(len(metric.texts(fact, task.form)) for fact in everything)
        seconds += FORWARD * pace.of(texts)
        seconds += FORWARD * _generated(metric, pace) * pace.of(len(everything))
    return seconds


def _generated(method: Metric | StopRule, pace: Pace) -> int:
    """Upper bound on the tokens generated per fact, each of which takes a forward pass."""
    limit = vars(method).get("max_new_tokens")
    if limit is not None:
        return limit
    prefixes = isinstance(method, Extraction) or (isinstance(method, Metric) and method.generates)
    # From every prefix of a fact to its end.
    return pace.longest**2 if prefixes else 0
