"""From a study to its steps: what is computed, in which order, and what each depends on.

A step is known by a key, a hash of everything that decides its result: its settings, the models'
and facts' content, the package's version, and the keys of the steps before it. Where a step of that
key lies in the study's folder, it is not computed again.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from neuronscope.facts.fact import FactSet, facts_hash
from neuronscope.results.attack_table import NEVER_KNEW, ORIGINAL
from neuronscope.results.cache import content_of
from neuronscope.study.config import MATCH, Method, Study
from neuronscope.study.scoring import fit_of
from neuronscope.training.plan import FREE, described, plain

Kind = Literal["unlearn", "score", "record", "diagnose", "attack", "stability"]

DONE = {"unlearn": "manifest.json"}
"""The file that a finished step leaves last, where it is not `done.json`."""


@dataclass(frozen=True)
class Step:
    """One piece of a study."""

    kind: Kind

    subject: str
    """The method, or one of the models that the study does not make."""

    seed: int | None
    """Of the run; None for models that the study does not make."""

    what: str
    """Which attack, by its name in the study; empty for other steps."""

    key: str

    needs: tuple[str, ...] = ()
    """Keys of the steps that have to be done before."""

    @property
    def label(self) -> str:
        """What a person calls it."""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.kind} {self.subject}{seed}{f' ({self.what})' if self.what else ''}"

    def folder(self, out: Path) -> Path:
        """Where its result lies."""
        return out / "steps" / f"{self.kind}-{self.key[:16]}"

    def done(self, out: Path) -> bool:
        """Whether its result lies there, whole."""
        return (self.folder(out) / DONE.get(self.kind, "done.json")).is_file()


@dataclass(frozen=True)
class Plan:
    """A study and its steps, each after those that it needs."""

    study: Study
    steps: tuple[Step, ...]

    left_out: tuple[str, ...] = ()
    """A sentence for each split on which a metric is not to be had."""

    def step(self, key: str) -> Step:
        """The step of a key."""
        return next(step for step in self.steps if step.key == key)

    def of(self, kind: Kind, subject: str, seed: int | None) -> tuple[Step, ...]:
        """The steps of a kind that look at one model: one, or as many as there are attacks."""
        wanted = kind, subject, seed
        return tuple(s for s in self.steps if (s.kind, s.subject, s.seed) == wanted)


def plan_of(study: Study, facts: FactSet) -> Plan:
    """The steps of a study.

    Args:
        facts: The study's.

    Raises:
        ValueError: If a metric can be had of no split.
    """
    metrics = [study.metric(choice) for choice in study.metrics]
    fits = [fit_of(metric, facts, study.never_knew, study.holdout_split) for metric in metrics]
    world = {
        "facts": facts_hash(facts),
        "form": study.form,
        "version": importlib.metadata.version("neuronscope"),
    }
    given = {ORIGINAL: _model(study.model)}
    if study.never_knew is not None:
        given[NEVER_KNEW] = _model(study.never_knew)
    before = world | {ORIGINAL: given[ORIGINAL]}
    runs: dict[tuple[str, int], Step] = {}
    # Runs that end where another ended come after it.
    for method in sorted(study.methods, key=lambda method: method.matches is not None):
        for seed in study.seeds:
            runs[method.name, seed] = _run(study, method, seed, before, runs)
    steps = [runs[method.name, seed] for method in study.methods for seed in study.seeds]
    steps.sort(key=lambda step: bool(step.needs))
    subjects = [(name, None, key, ()) for name, key in given.items()]
    subjects += [(step.subject, step.seed, step.key, (step.key,)) for step in steps]
    for name, seed, content, needs in subjects:
        asked = world | {"model": content}
        never = given.get(NEVER_KNEW)
        asked_metrics = {
            "metrics": [described(metric) for metric in metrics],
            NEVER_KNEW: never,
            "holdout": study.holdout_split,
        }
        steps.append(_step("score", name, seed, "", asked | asked_metrics, needs))
        for called, attack in study.attack_names.items():
            told = {"attack": described(study.attack(attack))}
            steps.append(_step("attack", name, seed, called, asked | told, needs))
    left_out = tuple(sentence for fit in fits for sentence in fit.left_out)
    return Plan(study, (*steps, *_diagnoses(study, runs, before)), left_out)


def _run(
    study: Study,
    method: Method,
    seed: int,
    world: dict[str, Any],
    runs: dict[tuple[str, int], Step],
) -> Step:
    before = runs.get((method.matches, seed)) if method.matches is not None else None
    match = None if method.matches is None else Path(method.matches)
    made = method.made(seed, match)
    stop = described(made.stop)
    if before is not None:
        assert stop is not None, "it matches"
        stop = stop | {MATCH: before.key}
    told = {
        "objective": described(made.objective),
        "regularizer": described(made.regularizer),
        "stop": stop,
        "training": {
            name: value
            for name, value in asdict(study.config_of(method, seed)).items()
            if f"config.{name}" not in FREE
        },
    }
    return _step("unlearn", method.name, seed, "", world | told, (before.key,) if before else ())


def _diagnoses(
    study: Study, runs: dict[tuple[str, int], Step], world: dict[str, Any]
) -> list[Step]:
    if study.diagnosing is None:
        return []
    diagnosing, attack = study.diagnosing, study.after_attack
    recorded = world | {
        "attribution": diagnosing.attribution.replace("_", "-"),
        "method": asdict(study.recorded_as),
        "null_facts": diagnosing.null_facts,
    }
    asked = recorded | {"views": diagnosing.views}
    attacked = recorded | {"attack": described(attack)}
    before = _step("record", ORIGINAL, None, "", recorded, ())
    steps = [before]
    for run in runs.values():
        after = _step("record", run.subject, run.seed, "", recorded, (run.key,))
        needs = before.key, after.key, run.key
        steps += [after, _step("diagnose", run.subject, run.seed, "", asked, needs)]
        if attack is not None:
            name = str(diagnosing.after_attack)
            steps.append(_step("stability", run.subject, run.seed, name, attacked, needs))
    return steps


def _step(
    kind: Kind,
    subject: str,
    seed: int | None,
    what: str,
    told: dict[str, Any],
    needs: Sequence[str],
) -> Step:
    """A step with its key; what it is called does not count."""
    decides = {"kind": kind, "told": told, "needs": list(needs)}
    text = json.dumps(decides, sort_keys=True, default=plain)
    key = hashlib.sha256(text.encode("utf-8")).hexdigest()
    return Step(kind, subject, seed, what, key, tuple(needs))


def _model(source: str) -> str:
    """A hash of a model's files; of one that is to come from the hub, its name.

    An adapter is known by what it stands on, too.
    """
    own = content_of(Path(source)) or f"hub {source}"
    config = Path(source) / "adapter_config.json"
    if not config.is_file():
        return own
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    return f"{own} on {_model(str(base))}"
