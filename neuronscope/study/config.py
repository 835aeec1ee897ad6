"""What a study is made of: models, facts, methods, attacks. Frozen, and written as TOML.

    model = "HuggingFaceTB/SmolLM2-135M-Instruct"
    facts = "facts.jsonl"
    seeds = [0, 1, 2]
    metrics = ["exact-memorization"]

    [training]
    learning_rate = 1e-5

    [[methods]]
    name = "SSIUU, neurons"
    objective = "gradient-difference"
    regularizer = { name = "ssiuu-neurons", relative = 1.0 }
    stop = { name = "log-odds", level = -2.0 }

    [[attacks]]
    name = "relearn-forget"
    count = 4

Methods, attacks and metrics have the names of the command line; what stands beside a name are the
method's settings. `stop`, `regularizer` and `diagnosing` may be "none".
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict

from neuronscope.attacks import FEWEST, Attack, Relearning
from neuronscope.attacks.prune import Prune
from neuronscope.attribution import Attribution
from neuronscope.evidence import Evidence, default_views
from neuronscope.metrics import Metric
from neuronscope.objectives import Objective
from neuronscope.regularizers import Regularizer
from neuronscope.stopping import StopRule
from neuronscope.tasks import Measuring, PromptForm
from neuronscope.tasks.methods import (
    MAY_BE_NONE,
    SEED,
    Choice,
    OptionalChoice,
    built,
    made,
    name_of,
    several,
)
from neuronscope.tasks.record import Record
from neuronscope.training import TrainingConfig

STRICT = ConfigDict(extra="forbid")

FORM = "form"
"""The setting of recordings that is the whole study's."""

MATCH = "match"
"""The setting of the stop rule `update-norm` that may name another method of the study."""


@dataclass(frozen=True)
class Method:
    """One way to make the model forget."""

    __pydantic_config__ = STRICT

    name: str
    """As it is called in tables and figures."""

    objective: Choice
    regularizer: OptionalChoice = None
    stop: OptionalChoice = "forget-accuracy"
    """With none, a run takes all its steps."""

    training: dict[str, Any] = field(default_factory=dict)
    """What differs from the study's own training settings."""

    control: bool = False
    """A control: others are compared with it."""

    def made(self, seed: int) -> "MadeMethod":
        """The method for one seed.

        Raises:
            ValueError: If there is no such objective, regularizer or stop rule or setting.
        """
        objective = made("objectives", self.objective, Objective, seed)
        assert objective is not None, "an objective is not optional"
        return MadeMethod(
            objective,
            made("regularizers", self.regularizer, Regularizer, seed),
            made("stopping", self.stop, StopRule, seed),
        )

    @property
    def matches(self) -> str | None:
        """The method, or folder, whose update norm ends this one."""
        return self.stop.get(MATCH) if isinstance(self.stop, dict) else None


@dataclass(frozen=True)
class MadeMethod:
    """A method's parts, ready to be used."""

    objective: Objective
    regularizer: Regularizer | None
    stop: StopRule | None


@dataclass(frozen=True)
class Diagnosing:
    """How checkpoints are diagnosed."""

    __pydantic_config__ = STRICT

    attribution: Choice = "integrated-gradients"
    """How influence is measured. A study diagnoses many checkpoints: `gradient-x-activation` takes
    a small part of the time, and is less exact."""

    method: dict[str, Any] = field(default_factory=dict)
    """Settings of the recordings, as the fields `target`, `reduction`, `sites` and `memory` of
    `Record`, and further settings of the attribution."""

    null_facts: int | None = None
    """How many facts that were not to be forgotten are recorded beside the forgotten ones."""

    views: tuple[Choice, ...] = ("relearning_probe",)
    """Causal views of every checkpoint, or `all`, or `none`. By default only the view that the
    verdict rests on: it takes seconds where answers have a few tokens and minutes where they are
    long, and all views together take many times as long. Without it there is no verdict."""

    after_attack: str | None = None
    """An attack of the study that fine-tunes, by its name there (the first of several: with 1
    behind it): every run is recorded once more after it, at the attack's largest learning rate and
    first seed, to see which neurons it moved (arXiv 2509.22263, Fig. 6). Of several parts of the
    facts, the first is left out."""

    def __post_init__(self) -> None:
        several("evidence", self.views, Evidence, None, default_views)

    def recording(self, model: Any, facts: Any, form: str) -> Record:
        """The task that records one model.

        Raises:
            ValueError: If there is no such attribution or setting.
        """
        named = {item.name for item in fields(Measuring)} - {FORM}
        task = {name: value for name, value in self.method.items() if name in named}
        settings = {name: value for name, value in self.method.items() if name not in named}
        chosen = self.attribution if isinstance(self.attribution, dict) else {}
        choice = {"name": name_of(self.attribution)} | settings | chosen
        task["attribution"] = made("attribution", choice, Attribution, None)
        return built(Record, task | {"model": model, "facts": facts, "split": "all", FORM: form})


@dataclass(frozen=True)
class Study:
    """One experiment."""

    __pydantic_config__ = STRICT

    model: str
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Path

    methods: tuple[Method, ...]

    seeds: tuple[int, ...] = (0,)
    """Each unlearns anew, in another order of the facts."""

    attacks: tuple[Choice, ...] = ()
    metrics: tuple[Choice, ...] = ()

    never_knew: str | None = None
    """A model that never saw the facts: attacked likewise, the lower bound of recovery."""

    holdout_split: Literal["test", "utility"] | None = None
    """The split whose facts no model saw: metrics of membership compare with them."""

    training: dict[str, Any] = field(default_factory=dict)
    """Settings of all runs, as `neuronscope unlearn` has them."""

    diagnosing: Annotated[Diagnosing | None, MAY_BE_NONE] = field(default_factory=Diagnosing)
    """With none, the diagnoses are left out."""

    form: PromptForm = "completion"
    """How a fact is put to the model."""

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if not names:
            raise ValueError("methods: expected one or more.")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"methods: the name {twice!r} stands twice.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected one or more, without repeats, got {self.seeds}.")
        for name in names:
            if name in ("original", "never_knew") or not name.strip():
                raise ValueError(f"methods: a method cannot be called {name!r}.")
        for where, made_of in self._made_of():
            try:
                made_of()
            except (ValueError, TypeError) as error:
                raise ValueError(f"{where}: {' '.join(str(error).split())}") from error
        self._check_matches()
        self._check_after_attack()

    def config_of(self, method: Method, seed: int) -> TrainingConfig:
        """How one method's runs are trained."""
        told = {"form": self.form} | self.training | method.training | {SEED: seed}
        return built(TrainingConfig, told)

    @property
    def attack_names(self) -> dict[str, Choice]:
        """The attacks by name; of one that is there several times, with its place."""
        called = [name_of(choice) for choice in self.attacks]
        return {
            name if called.count(name) == 1 else f"{name} {called[: place + 1].count(name)}": one
            for place, (name, one) in enumerate(zip(called, self.attacks, strict=True))
        }

    def attack(self, choice: Choice) -> Attack:
        """One of the attacks."""
        found = made("attacks", choice, Attack, None)
        assert found is not None, "an attack is not optional"
        if isinstance(found, Prune):
            raise ValueError(
                "it silences the neurons of one checkpoint's diagnosis, which are no other's: "
                "attack each run by itself (neuronscope attack)."
            )
        if found.pool != "all":
            raise ValueError(
                "the pool 'wrong' is another one for each checkpoint, so that methods could not "
                "be compared; use 'all'."
            )
        return found

    @property
    def after_attack(self) -> Relearning | None:
        """The attack after which runs are recorded once more: a single run of it."""
        if self.diagnosing is None or self.diagnosing.after_attack is None:
            return None
        attack = self.attack(self.attack_names[self.diagnosing.after_attack])
        assert isinstance(attack, Relearning), "checked at the beginning"
        return attack.hardest()

    def metric(self, choice: Choice) -> Metric:
        """One of the metrics."""
        found = made("metrics", choice, Metric, None)
        assert found is not None, "a metric is not optional"
        return found

    def _made_of(self) -> Iterator[tuple[str, Any]]:
        for method in self.methods:
            yield f"method {method.name!r}", lambda m=method: m.made(0)
            yield f"method {method.name!r}", lambda m=method: self.config_of(m, 0)
        for choice in self.attacks:
            yield f"attack {name_of(choice)!r}", lambda c=choice: self.attack(c)
        for choice in self.metrics:
            yield f"metric {name_of(choice)!r}", lambda c=choice: self.metric(c)
        if self.diagnosing is not None:
            yield "diagnosing", lambda d=self.diagnosing: d.recording("", "", self.form)

    def _check_after_attack(self) -> None:
        name = None if self.diagnosing is None else self.diagnosing.after_attack
        if name is None:
            return
        training = [
            called
            for called, choice in self.attack_names.items()
            if isinstance(self.attack(choice), Relearning)
        ]
        chosen = next((c for called, c in self.attack_names.items() if called == name), None)
        if name not in training or chosen is None:
            raise ValueError(
                f"diagnosing: after_attack names {name!r}; attacks of the study that fine-tune: "
                f"{', '.join(training) or 'none'}."
            )
        if self.after_attack is not None and self.after_attack.updates(FEWEST) == 0:
            raise ValueError(f"diagnosing: after_attack names {name!r}, which has no steps.")

    def _check_matches(self) -> None:
        matching = {method.name for method in self.methods if method.matches is not None}
        for method in self.methods:
            if method.matches in matching:
                raise ValueError(
                    f"method {method.name!r}: its stop rule matches {method.matches!r}, which "
                    "itself matches another run; match that one."
                )
