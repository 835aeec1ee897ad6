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
    regularizer = { name = "ssiuu", unit = "neuron", relative = 1.0 }
    stop = { name = "log-odds", level = -2.0 }

    [[attacks]]
    name = "relearn-forget"
    count = 4

Methods, attacks and metrics have the names of the command line; what stands beside a name are the
method's settings.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from neuronscope._discover import method_class
from neuronscope.attacks._base import Attack
from neuronscope.metrics._base import Metric
from neuronscope.objectives._base import Objective
from neuronscope.options import MethodOptions
from neuronscope.prompts import PROMPT_FORMS
from neuronscope.regularizers._base import Regularizer
from neuronscope.stopping._base import StopRule
from neuronscope.training import TrainingConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid")

SEED = "seed"
"""The setting of methods that the study fills in."""

MATCH = "match"
"""The setting of the stop rule `update-norm` that may name another method of the study."""

Choice = str | dict[str, Any]
"""A method by name; or a table of its name and its settings."""


@dataclass(frozen=True)
class Method:
    """One way to make the model forget."""

    __pydantic_config__ = STRICT

    name: str
    """As it is called in tables and figures."""

    objective: Choice
    regularizer: Choice | None = None
    stop: Choice | None = "forget-accuracy"

    training: dict[str, Any] = field(default_factory=dict)
    """What differs from the study's own training settings."""

    control: bool = False
    """A control: others are compared with it."""

    def made(self, seed: int, match: Path | None = None) -> "MadeMethod":
        """The method for one seed.

        Args:
            match: The folder of the run that its stop rule names, where it names one.

        Raises:
            ValueError: If there is no such objective, regularizer or stop rule or setting.
        """
        stop = self.stop
        if match is not None:
            assert isinstance(stop, dict), "only a table can name another method"
            stop = stop | {MATCH: str(match)}
        objective = made("objectives", self.objective, Objective, seed)
        assert objective is not None, "an objective is not optional"
        return MadeMethod(
            objective,
            made("regularizers", self.regularizer, Regularizer, seed),
            made("stopping", stop, StopRule, seed),
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

    attribution: str = "gradient-x-activation"
    """How influence is measured. The cheapest by default: a study diagnoses many checkpoints."""

    method: MethodOptions = field(default_factory=MethodOptions)
    """Its settings, as `neuronscope diagnose` has them."""

    null_facts: int | None = None
    """How many facts that were not to be forgotten are recorded beside the forgotten ones."""

    causal: bool = True
    """Test the causes too: the verdict rests on them."""


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

    training: dict[str, Any] = field(default_factory=dict)
    """Settings of all runs, as `neuronscope unlearn` has them."""

    diagnosing: Diagnosing | None = field(default_factory=Diagnosing)
    """None leaves the diagnoses out."""

    form: str = "completion"
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
        if self.form not in PROMPT_FORMS:
            raise ValueError(f"form: there are {', '.join(PROMPT_FORMS)}, got {self.form!r}.")
        for name in names:
            if name in ("original", "never_knew") or not name.strip():
                raise ValueError(f"methods: a method cannot be called {name!r}.")
        for where, made_of in self._made_of():
            try:
                made_of()
            except (ValueError, TypeError) as error:
                raise ValueError(f"{where}: {' '.join(str(error).split())}") from error
        self._check_matches()

    def config_of(self, method: Method, seed: int) -> TrainingConfig:
        """How one method's runs are trained."""
        told = {"form": self.form} | self.training | method.training | {SEED: seed}
        return _built(TrainingConfig, told)

    @property
    def attack_names(self) -> dict[str, Choice]:
        """The attacks by name; of one that is there several times, with its place."""
        called = [_name(choice) for choice in self.attacks]
        return {
            name if called.count(name) == 1 else f"{name} {called[: place + 1].count(name)}": one
            for place, (name, one) in enumerate(zip(called, self.attacks, strict=True))
        }

    def attack(self, choice: Choice) -> Attack:
        """One of the attacks."""
        found = made("attacks", choice, Attack, None)
        assert found is not None, "an attack is not optional"
        if found.pool != "all":
            raise ValueError(
                "the pool 'wrong' is another one for each checkpoint, so that methods could not "
                "be compared; use 'all'."
            )
        return found

    def metric(self, choice: Choice) -> Metric:
        """One of the metrics."""
        found = made("metrics", choice, Metric, None)
        assert found is not None, "a metric is not optional"
        return found

    def _made_of(self) -> Iterator[tuple[str, Any]]:
        for method in self.methods:
            held = method.matches
            known = Path(".") if held is not None else None
            yield f"method {method.name!r}", lambda m=method, k=known: m.made(0, k)
            yield f"method {method.name!r}", lambda m=method: self.config_of(m, 0)
        for choice in self.attacks:
            yield f"attack {_name(choice)!r}", lambda c=choice: self.attack(c)
        for choice in self.metrics:
            yield f"metric {_name(choice)!r}", lambda c=choice: self.metric(c)

    def _check_matches(self) -> None:
        by_name = {method.name: method for method in self.methods}
        for method in self.methods:
            held = method.matches
            if held is None or Path(held).is_dir():
                continue
            if held not in by_name:
                raise ValueError(
                    f"method {method.name!r}: its stop rule matches {held!r}, which is neither a "
                    "method of the study nor the folder of a run."
                )
            if by_name[held].matches is not None:
                raise ValueError(
                    f"method {method.name!r}: its stop rule matches {held!r}, which itself "
                    "matches another run; match that one."
                )


def read_study(path: Path) -> Study:
    """The study that a TOML or JSON file describes; paths in it are relative to the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or describes no study; names the file and the place.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no study {path}: expected a TOML or JSON file.")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    try:
        study = study_of(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return _from_folder(study, path.parent)


def plain_study(study: Study) -> dict[str, Any]:
    """A study as the plain values that describe it."""
    return TypeAdapter(Study).dump_python(study, mode="json")


def study_of(content: Mapping[str, Any]) -> Study:
    """The study that plain values describe.

    Raises:
        ValueError: If they describe none; names the place.
    """
    try:
        return TypeAdapter(Study).validate_python(dict(content))
    except ValidationError as error:
        raise ValueError("; ".join(_flaws(error))) from error


def made(family: str, choice: Choice | None, base: type[T], seed: int | None) -> T | None:
    """A method of a family with its settings; None where none was chosen.

    Args:
        seed: For methods that have one which was not given.

    Raises:
        ValueError: If there is no such method or setting.
    """
    if choice is None:
        return None
    settings = {} if isinstance(choice, str) else {k: v for k, v in choice.items() if k != "name"}
    found = method_class(family, _name(choice).replace("-", "_"), base)
    assert is_dataclass(found), "a method is a frozen dataclass"
    if seed is not None and SEED in {item.name for item in fields(found)}:
        settings = {SEED: seed} | settings
    return cast(T, _built(cast(type, found), settings))


def _built(kind: type, settings: Mapping[str, Any]) -> Any:
    """A dataclass from plain values, each of its field's type."""
    hints = get_type_hints(kind)
    known = [item.name for item in fields(kind)]
    values = {}
    for name, value in settings.items():
        if name not in known:
            raise ValueError(f"there is no setting {name!r}: there are {', '.join(known)}")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{name}: {'; '.join(_flaws(error))}") from error
    return kind(**values)


def _name(choice: Choice) -> str:
    if isinstance(choice, str):
        return choice
    if not isinstance(choice.get("name"), str):
        raise ValueError(f"expected a table with a name, got {choice!r}")
    return choice["name"]


def _flaws(error: ValidationError) -> list[str]:
    """What is wrong, place by place, in one line each."""
    flaws = []
    for one in error.errors(include_url=False):
        place = ".".join(str(part) for part in one["loc"])
        said = one["msg"].removeprefix("Value error, ")
        flaws.append(f"{place}: {said}" if place else said)
    return flaws


def _from_folder(study: Study, folder: Path) -> Study:
    """The study with its files found from the folder of its own file."""

    def found(source: str) -> str:
        there = folder / source
        return str(there) if there.exists() else source

    never = None if study.never_knew is None else found(study.never_knew)
    return replace(
        study, model=found(study.model), facts=Path(found(str(study.facts))), never_knew=never
    )
