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

from neuronscope.facts import FactSet, facts_hash
from neuronscope.study.config import MATCH, Method, Study
from neuronscope.training.plan import plain

Kind = Literal["unlearn", "score", "record", "diagnose", "attack"]

ORIGINAL, NEVER_KNEW = "original", "never_knew"
"""The models of a study that it does not make."""

DONE = {"unlearn": "manifest.json"}
"""The file that a finished step leaves last, where it is not `done.json`."""


PIECE = 2**24
"""Bytes of a file that are hashed at once."""


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

    def step(self, key: str) -> Step:
        """The step of a key."""
        return next(step for step in self.steps if step.key == key)

    def of(self, kind: Kind, subject: str, seed: int | None) -> tuple[Step, ...]:
        """The steps of a kind that look at one model: one, or as many as there are attacks."""
        wanted = kind, subject, seed
        return tuple(s for s in self.steps if (s.kind, s.subject, s.seed) == wanted)

    @property
    def subjects(self) -> tuple[tuple[str, int | None], ...]:
        """The models that are looked at: method and seed, the ones that were given first."""
        return tuple((s.subject, s.seed) for s in self.steps if s.kind == "score")


def plan_of(study: Study, facts: FactSet) -> Plan:
    """The steps of a study.

    Args:
        facts: The study's.
    """
    world = {
        "facts": facts_hash(facts),
        "form": study.form,
        "version": importlib.metadata.version("neuronscope"),
    }
    given = {ORIGINAL: content_of(study.model)}
    if study.never_knew is not None:
        given[NEVER_KNEW] = content_of(study.never_knew)
    runs: dict[tuple[str, int], Step] = {}
    # Runs that end where another ended come after it.
    for method in sorted(study.methods, key=lambda method: method.matches is not None):
        for seed in study.seeds:
            runs[method.name, seed] = _run(study, method, seed, world | given, runs)
    steps = [runs[method.name, seed] for method in study.methods for seed in study.seeds]
    steps.sort(key=lambda step: bool(step.needs))
    subjects = [(name, None, key, ()) for name, key in given.items()]
    subjects += [(step.subject, step.seed, step.key, (step.key,)) for step in steps]
    for name, seed, content, needs in subjects:
        asked = world | {"model": content}
        asked_metrics = {"metrics": study.metrics, NEVER_KNEW: given.get(NEVER_KNEW)}
        steps.append(_step("score", name, seed, "", asked | asked_metrics, needs))
        for called, attack in study.attack_names.items():
            told = {"attack": attack, "settings": asdict(study.attack(attack))}
            steps.append(_step("attack", name, seed, called, asked | told, needs))
    return Plan(study, (*steps, *_diagnoses(study, runs, world | given)))


def _run(
    study: Study,
    method: Method,
    seed: int,
    world: dict[str, Any],
    runs: dict[tuple[str, int], Step],
) -> Step:
    before = runs.get((method.matches, seed)) if method.matches is not None else None
    stop = method.stop
    if before is not None:
        assert isinstance(stop, dict), "only a table can name another method"
        stop = stop | {MATCH: before.key}
    told = {
        "objective": method.objective,
        "regularizer": method.regularizer,
        "stop": stop,
        "training": asdict(study.config_of(method, seed)),
    }
    return _step("unlearn", method.name, seed, "", world | told, (before.key,) if before else ())


def _diagnoses(
    study: Study, runs: dict[tuple[str, int], Step], world: dict[str, Any]
) -> list[Step]:
    if study.diagnosing is None:
        return []
    told = world | {"diagnosing": asdict(study.diagnosing)}
    before = _step("record", ORIGINAL, None, "", told, ())
    return [before] + [
        _step("diagnose", run.subject, run.seed, "", told, (before.key, run.key))
        for run in runs.values()
    ]


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


def content_of(source: str) -> str:
    """A hash of a model's files; of one that is to come from the hub, its name."""
    path = Path(source)
    if not path.exists():
        return f"hub {source}"
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    whole = hashlib.sha256()
    for file in files:
        whole.update(str(file.relative_to(path.parent if path.is_file() else path)).encode())
        with file.open("rb") as opened:
            while piece := opened.read(PIECE):
                whole.update(piece)
    return whole.hexdigest()
