"""The settings of a study: models, facts, methods, attacks and metrics.

A study can be written as a TOML file:

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

Methods, attacks and metrics are named as on the command line; a table gives a name with settings.
`stop`, `regularizer` and `diagnosing` may be "none".
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
"""The setting of recordings that the study's field of the same name fills in."""

MATCH = "match"
"""The setting of the stop rule `update-norm` that can name another method of the study."""


@dataclass(frozen=True)
class Method:
    """An unlearning method."""

    __pydantic_config__ = STRICT

    name: str
    """Name of the method in tables and figures."""

    objective: Choice
    regularizer: OptionalChoice = None
    stop: OptionalChoice = "forget-accuracy"
    """Stop rule; without one, a run takes all its steps."""

    training: dict[str, Any] = field(default_factory=dict)
    """Training settings that differ from those of the study."""

    control: bool = False
    """Whether this is a control that other methods are compared with."""

    def made(self, seed: int) -> "MadeMethod":
        """The method for one seed.

        Raises:
            ValueError: If the objective, regularizer, stop rule or a setting does not exist.
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
        """The method, or folder of a run, whose update norm this method matches."""
        return self.stop.get(MATCH) if isinstance(self.stop, dict) else None


@dataclass(frozen=True)
class MadeMethod:
    """The parts of a method, for one seed."""

    objective: Objective
    regularizer: Regularizer | None
    stop: StopRule | None


@dataclass(frozen=True)
class Diagnosing:
    """How checkpoints are diagnosed."""

    __pydantic_config__ = STRICT

    attribution: Choice = "integrated-gradients"
    """Attribution method. `gradient-x-activation` is much faster than the default, and less
    accurate; consider it for studies with many checkpoints."""

    method: dict[str, Any] = field(default_factory=dict)
    """Settings of the recordings (`target`, `reduction`, `sites` and `memory` of `Record`), and
    settings of the attribution."""

    null_facts: int | None = None
    """Number of control facts recorded in addition to the forget set, as in `Diagnose`."""

    views: tuple[Choice, ...] = ("relearning_probe",)
    """Causal views of every checkpoint, or `all`, or `none`. The default is the view that the
    verdict rests on; without it there is no verdict. It takes seconds if answers have a few tokens
    and minutes if they are long; all views together take many times as long."""

    after_attack: str | None = None
    """The name of one of the study's fine-tuning attacks; if several have the same name, the first
    is called `NAME 1`. Every run is recorded again after this attack, at its largest learning rate
    and first seed, to see which neurons it changes (arXiv 2509.22263, Fig. 6). If the attack splits
    the facts into folds, the first fold is held out."""

    def __post_init__(self) -> None:
        several("evidence", self.views, Evidence, None, default_views)

    def recording(self, model: Any, facts: Any, form: str) -> Record:
        """The task that records one model.

        Raises:
            ValueError: If the attribution or a setting does not exist.
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
    """Every method is run once per seed, which determines the order of the facts."""

    attacks: tuple[Choice, ...] = ()
    metrics: tuple[Choice, ...] = ()

    never_knew: str | None = None
    """A model that never learned the facts, attacked as well for a lower bound on recovery."""

    holdout_split: Literal["test", "utility"] | None = None
    """The split whose facts no model was trained on, for metrics of membership inference."""

    training: dict[str, Any] = field(default_factory=dict)
    """Training settings of all runs, as in `neuronscope unlearn`."""

    diagnosing: Annotated[Diagnosing | None, MAY_BE_NONE] = field(default_factory=Diagnosing)
    """How checkpoints are diagnosed, or none to leave out the diagnoses."""

    form: PromptForm = "completion"
    """Prompt form of the facts."""

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if not names:
            raise ValueError("methods: expected one or more.")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"methods: the name {twice!r} is used twice.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected one or more, without repeats, got {self.seeds}.")
        for name in names:
            if name in ("original", "never_knew") or not name.strip():
                raise ValueError(f"methods: a method cannot be called {name!r}.")
        for place, make in self._parts():
            try:
                make()
            except (ValueError, TypeError) as error:
                raise ValueError(f"{place}: {' '.join(str(error).split())}") from error
        self._check_matches()
        self._check_after_attack()

    def config_of(self, method: Method, seed: int) -> TrainingConfig:
        """The training settings of one run."""
        settings = {"form": self.form} | self.training | method.training | {SEED: seed}
        return built(TrainingConfig, settings)

    @property
    def attack_names(self) -> dict[str, Choice]:
        """The attacks by name; attacks of the same name are numbered."""
        called = [name_of(choice) for choice in self.attacks]
        return {
            name if called.count(name) == 1 else f"{name} {called[: place + 1].count(name)}": one
            for place, (name, one) in enumerate(zip(called, self.attacks, strict=True))
        }

    def attack(self, choice: Choice) -> Attack:
        """An attack from its name or table.

        Raises:
            ValueError: If the attack does not exist, or does not allow methods to be compared.
        """
        attack = made("attacks", choice, Attack, None)
        assert attack is not None, "an attack is not optional"
        if isinstance(attack, Prune):
            raise ValueError(
                "it needs the diagnosis of one checkpoint, and a study attacks many: use "
                "`neuronscope attack` on each run."
            )
        if attack.pool != "all":
            raise ValueError(
                "with the pool 'wrong', each checkpoint is attacked with different facts and "
                "methods cannot be compared; use 'all'."
            )
        return attack

    @property
    def after_attack(self) -> Relearning | None:
        """The attack after which runs are recorded again, restricted to a single run."""
        if self.diagnosing is None or self.diagnosing.after_attack is None:
            return None
        attack = self.attack(self.attack_names[self.diagnosing.after_attack])
        assert isinstance(attack, Relearning), "checked when the study was created"
        return attack.hardest()

    def metric(self, choice: Choice) -> Metric:
        """A metric from its name or table."""
        metric = made("metrics", choice, Metric, None)
        assert metric is not None, "a metric is not optional"
        return metric

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """Functions that create each part of the study, with the part's name for errors."""
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
                f"diagnosing: after_attack is {name!r}; expected one of the study's "
                f"fine-tuning attacks: {', '.join(training) or 'it has none'}."
            )
        if self.after_attack is not None and self.after_attack.updates(FEWEST) == 0:
            raise ValueError(f"diagnosing: after_attack is {name!r}, which takes no steps.")

    def _check_matches(self) -> None:
        matching = {method.name for method in self.methods if method.matches is not None}
        for method in self.methods:
            if method.matches in matching:
                raise ValueError(
                    f"method {method.name!r}: its stop rule matches {method.matches!r}, whose stop "
                    "rule matches a third run; match that run instead."
                )
