"""The steps of a study: which tasks are computed, and in which order.

A step is identified by its key, a hash of everything that determines its task's result. A task that
uses the result of another step refers to it by that step's key. Steps whose results are already in
the study's folder are not computed again.
"""

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.results.attack_table import NEVER_KNEW, ORIGINAL
from neuronscope.results.cache import is_finished, key_of
from neuronscope.study.config import MATCH, Diagnosing, Method, Study
from neuronscope.study.stability import Stability
from neuronscope.tasks import Measuring, Task, choose_facts
from neuronscope.tasks.attack import Attack
from neuronscope.tasks.diagnose import Diagnose
from neuronscope.tasks.record import RECORDING
from neuronscope.tasks.score import Score
from neuronscope.tasks.unlearn import Unlearn
from neuronscope.training.plan import MODEL

STEPS = "steps"
"""The folder of all steps in a study's folder."""


@dataclass(frozen=True)
class Produced:
    """A file or folder that a step will write."""

    step: str
    """The step's key."""

    place: str
    """Relative to the study's folder."""

    base: str | None = None
    """For a model: the model it was trained from."""

    def fingerprint(self) -> str:
        """A string that represents its content in the keys of later steps."""
        return f"{Path(self.place).name} of step {self.step}"


@dataclass(frozen=True, eq=False)
class Step:
    """One task of a study."""

    task: Task[Any]

    subject: str
    """The method, or the given model."""

    seed: int | None
    """The seed of the run; None for given models."""

    what: str = ""
    """The attack's name in the study; empty for other steps."""

    match: Produced | None = None
    """The run whose update norm this one matches; the stop rule holds a placeholder path."""

    @property
    def kind(self) -> str:
        """The task's name."""
        return type(self.task).__name__.lower()

    @cached_property
    def key(self) -> str:
        """A hash of everything that determines the result; names in tables do not count."""
        version = importlib.metadata.version("neuronscope")
        return key_of({"version": version, "task": self.kind} | self.task.decides())

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The keys of the steps that this one depends on."""
        values = (self.match, *vars(self.task).values())
        return tuple(dict.fromkeys(one.step for one in values if isinstance(one, Produced)))

    @property
    def label(self) -> str:
        """The step's displayed name."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.kind} {self.subject}{seed}{f' ({self.what})' if self.what else ''}"

    def folder(self, out: Path) -> Path:
        """The folder of the result."""
        return out / self._place

    def done(self, out: Path) -> bool:
        """Whether the result is complete."""
        return is_finished(self.folder(out))

    def writes(self, file: str = "", base: str | None = None) -> Produced:
        """A file of the result, or its folder."""
        return Produced(self.key, str(self._place / file), base)

    @property
    def _place(self) -> Path:
        return Path(STEPS) / f"{self.kind}-{self.key[:16]}"

    def task_with(self, place: Callable[[Produced], Any]) -> Task[Any]:
        """The task with `place` applied to each result of an earlier step."""
        task: Any = self.task
        produced = {name: one for name, one in vars(task).items() if isinstance(one, Produced)}
        given = {name: place(one) for name, one in produced.items()}
        if self.match is not None:
            match = place(self.match)
            given["stop"] = match and replace(task.stop, **{MATCH: match})
        return replace(task, **given)


@dataclass(frozen=True, eq=False)
class Plan:
    """A study and its steps, each after the steps it depends on."""

    study: Study
    steps: tuple[Step, ...]

    def of(self, kind: str, subject: str, seed: int | None) -> tuple[Step, ...]:
        """The steps of one kind on one model: one step, or one per attack."""
        wanted = kind, subject, seed
        return tuple(s for s in self.steps if (s.kind, s.subject, s.seed) == wanted)

    @property
    def once(self) -> list[Step]:
        """The steps without duplicates: methods that differ only in name share steps."""
        return list({step.key: step for step in self.steps}.values())

    @cached_property
    def left_out(self) -> tuple[str, ...]:
        """A sentence for each metric that cannot be computed on some split."""
        (first, *_) = (step.task for step in self.steps if isinstance(step.task, Score))
        return first.evaluations().left_out


def checked_plan(study: Study) -> Plan:
    """Plan a study, and check every task without reading any weights.

    Raises:
        FileNotFoundError, ValueError: If something is wrong with the input.
    """
    facts = load_facts(study.facts)
    _check_matches(study)
    plan = plan_of(study, facts)
    # An unlearned model does not exist yet, so the model it starts from is checked in its place.
    # One seed is enough, because checks do not depend on the seed.
    checked: list[Task[Any]] = []
    for step in plan.steps:
        task = step.task_with(lambda one: one.base)
        if step.seed in (None, study.seeds[0]) and task not in checked:
            task.check()
            checked.append(task)
    return plan


def _check_matches(study: Study) -> None:
    names = {method.name for method in study.methods}
    for method in study.methods:
        match = method.matches
        if match is not None and match not in names and not Path(match).is_dir():
            raise ValueError(
                f"method {method.name!r}: its stop rule matches {match!r}, which is neither a "
                "method of the study nor the folder of a run."
            )


def plan_of(study: Study, facts: FactSet) -> Plan:
    """The steps of a study.

    Args:
        facts: The facts of the study.
    """
    runs: dict[tuple[str, int], Step] = {}
    # Runs that match another run come after it.
    for method in sorted(study.methods, key=lambda method: method.matches is not None):
        for seed in study.seeds:
            runs[method.name, seed] = _run(study, facts, method, seed, runs)
    ordered = [runs[method.name, seed] for method in study.methods for seed in study.seeds]
    ordered.sort(key=lambda step: bool(step.needs))
    given = {ORIGINAL: study.model, NEVER_KNEW: study.never_knew}
    subjects: list[tuple[str, int | None, Any]] = [
        *((name, None, model) for name, model in given.items() if model is not None),
        *((run.subject, run.seed, run.writes(MODEL, study.model)) for run in ordered),
    ]
    steps = [step for subject in subjects for step in _evaluated(study, facts, *subject)]
    if study.diagnosing is not None:
        steps += _diagnosed(study, study.diagnosing, facts, list(runs.values()))
    return Plan(study, (*ordered, *steps))


def _run(
    study: Study,
    facts: FactSet,
    method: Method,
    seed: int,
    runs: dict[tuple[str, int], Step],
) -> Step:
    made = method.made(seed)
    stop: Any = made.stop
    match = None
    before = runs.get((method.matches, seed)) if method.matches is not None else None
    if before is not None:
        match = before.writes()
        stop = replace(stop, **{MATCH: Path(match.fingerprint())})
    config = study.config_of(method, seed)
    task = Unlearn(study.model, facts, made.objective, made.regularizer, stop, config)
    return Step(task, method.name, seed, match=match)


def _evaluated(
    study: Study, facts: FactSet, subject: str, seed: int | None, model: Any
) -> list[Step]:
    """The scores of one model, and the attacks on it."""
    score = Score(
        model,
        facts,
        tuple(map(study.metric, study.metrics)) or "none",
        reference=study.never_knew,
        holdout_split=study.holdout_split,
        form=study.form,
    )
    return [
        Step(score, subject, seed),
        *(
            Step(Attack(model, facts, study.attack(one), form=study.form), subject, seed, name)
            for name, one in study.attack_names.items()
        ),
    ]


def _diagnosed(
    study: Study, diagnosing: Diagnosing, facts: FactSet, runs: list[Step]
) -> list[Step]:
    """Recordings of the original model and of every run, and the steps that use them."""
    chosen = choose_facts(facts, "forget", diagnosing.null_facts, 0)
    recording = diagnosing.recording(study.model, chosen, study.form)
    if all(split == "forget" for split, _ in chosen):
        recording = replace(recording, original=study.model, null_facts=diagnosing.null_facts)
    names = ["attribution", *(item.name for item in fields(Measuring))]
    shared = {name: vars(recording)[name] for name in names}
    original = Step(recording, ORIGINAL, None)
    before = original.writes(RECORDING)
    steps = [original]
    for run in runs:
        model = run.writes(MODEL, study.model)
        recorded = Step(replace(recording, model=model), run.subject, run.seed)
        after = recorded.writes(RECORDING)
        diagnosis = Diagnose(
            study.model,
            model,
            facts,
            views=diagnosing.views,
            null_facts=diagnosing.null_facts,
            before_recording=before,
            after_recording=after,
            **shared,
        )
        steps += [recorded, Step(diagnosis, run.subject, run.seed)]
        if study.after_attack is not None:
            task = Stability(
                model,
                facts,
                study.after_attack,
                chosen,
                before,
                after,
                original=recording.original,
                null_facts=recording.null_facts,
                **shared,
            )
            steps.append(Step(task, run.subject, run.seed, str(diagnosing.after_attack)))
    return steps
