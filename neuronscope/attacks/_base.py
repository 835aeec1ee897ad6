"""What every attack takes and returns."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan
from typing import Literal

import pandas as pd
from transformers import PreTrainedTokenizerBase

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._tally import Questions, Tally
from neuronscope.evidence import Progress, no_progress
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import PROMPT_FORMS, encode
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.attack_table import ATTACKED, ATTACKED_CHECKPOINT, REST, RETAIN, table_of

Rows = list[dict[str, object]]

Keep = Callable[[int, Callable[[], Rows]], Rows]
"""Makes the rows of a run, told its number, or finds them from an earlier call."""


def keep_nothing(number: int, make: Callable[[], Rows]) -> Rows:
    """For whoever starts from the beginning."""
    del number
    return make()


@dataclass(frozen=True, eq=False)
class Scene:
    """What an attack is tried on. The same for the attacked checkpoint and for every control."""

    model: HookedModel
    """The attacked checkpoint."""

    pool: tuple[Fact, ...]
    """The facts to be forgotten that count."""

    retain: tuple[Fact, ...]

    form: str
    """How a fact is taught."""

    asked: str
    """How it is asked."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of an attack, to be made on each model."""

    rest: tuple[Fact, ...]

    taught: tuple[Fact, ...] = ()
    """None where the attack teaches nothing."""

    variant: str = ""
    lr: float = nan
    seed: int = 0
    fold: int = 0
    note: str = ""


@dataclass(frozen=True)
class Look:
    """What is seen of a model at one point of an attack."""

    tallies: Mapping[str, Tally]
    """By split."""

    step: int = 0
    epoch: float = nan
    budget: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Attack(ABC):
    """A way to bring back what was forgotten: hyper-parameters, and the table that comes of it.

    The attacked model, and every control, is left as it was, to the last bit. Everything random
    follows from seeds: the same attack on the same models gives the same table.
    """

    pool: Literal["all", "wrong"] = "all"
    """Which facts of the forget split count: all of them, or only those that the attacked
    checkpoint does not answer before the attack (arXiv 2509.22263), so that nothing comes back
    that never left. With wrong, each checkpoint has a pool of its own."""

    retain_facts: int = 64
    """Facts of the retain split that are asked at most."""

    def __post_init__(self) -> None:
        if self.retain_facts < 0:
            raise ValueError(f"Expected retain_facts of 0 or more, got {self.retain_facts}.")

    def __call__(
        self,
        model: HookedModel,
        facts: FactSet,
        controls: Mapping[str, HookedModel] | None = None,
        form: str = "completion",
        asked: str | None = None,
        progress: Progress = no_progress,
        keep: Keep = keep_nothing,
    ) -> pd.DataFrame:
        """Attack a model, and every control likewise.

        Args:
            facts: Those of split `forget` are to be brought back, those of `retain` are watched.
            controls: Other models by name, for the column `model`: mostly `original`, the model
                before unlearning, and `never_knew`, one that never saw the facts. What comes back
                is to be held against what they make of the same attack.
            form: How a fact is taught, one of `neuronscope.facts.prompts.PROMPT_FORMS`.
            asked: How it is asked; as it is taught, if not given.
            progress: Called after each run.
            keep: Called for each run; runs are numbered through all models.

        Returns:
            A row per model, run, look and split; columns as in `_table.COLUMNS`.

        Raises:
            ValueError: If facts, models and settings do not go together. Before anything is
                trained.
            FileNotFoundError: If a file that the attack needs is not there.
        """
        models = {ATTACKED_CHECKPOINT: model} | _named(controls or {})
        asked = asked or form
        self.check(facts, [one.tokenizer for one in models.values()], form, asked)
        scene = self.scene(model, facts, form, asked)
        trials = self.trials(scene)
        runs = [
            (name, one, trial, Questions.of(one, self._splits(scene, trial), asked))
            for name, one in models.items()
            for trial in trials
        ]
        rows: Rows = []
        for number, (name, one, trial, questions) in enumerate(runs):
            rows += keep(number, partial(self._rows, name, one, trial, scene, questions))
            progress(number + 1, len(runs))
        return table_of(rows)

    def check(
        self,
        facts: FactSet,
        tokenizers: Sequence[PreTrainedTokenizerBase],
        form: str,
        asked: str,
    ) -> None:
        """Find out, before any model is loaded, whether the attack can be made of these facts.

        Args:
            tokenizers: Those of the attacked checkpoint and of every control.
            form: How a fact is taught.
            asked: How it is asked.

        Raises:
            ValueError, FileNotFoundError: With what is missing.
        """
        if not facts.forget:
            raise ValueError(
                f"{facts.source or 'The facts'}: no fact of split 'forget': nothing to bring back."
            )
        for name in (form, asked):
            if name not in PROMPT_FORMS:
                raise ValueError(f"No prompt form {name!r}: there are {', '.join(PROMPT_FORMS)}.")
        for tokenizer in tokenizers:
            for fact in (*facts.forget, *self._watched(facts)):
                encode(fact, tokenizer, asked, fact.answer)
        self.check_own(facts, tokenizers, form)

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        """What an attack of this kind needs besides: nothing, where it does not say.

        Raises:
            ValueError, FileNotFoundError: With what is missing.
        """
        del facts, tokenizers, form

    @abstractmethod
    def trials(self, scene: Scene) -> list[Trial]:
        """The runs that the attack is made of.

        Raises:
            ValueError, FileNotFoundError: If it cannot be made of these facts or of this model.
        """

    @abstractmethod
    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Look]:
        """Attack a copy of a model, and look at it: first as it is, then again and again.

        Args:
            questions: What is asked at each look.
        """

    def _rows(
        self, name: str, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Rows:
        """A run of the attack, as rows of the table."""
        attack = type(self).__module__.rpartition(".")[2]
        looks = self.run(model, trial, scene, questions)
        return [row for look in looks for row in _rows(attack, name, trial, look)]

    def scene(self, model: HookedModel, facts: FactSet, form: str, asked: str) -> Scene:
        """What the attack is tried on.

        Raises:
            ValueError: If no fact counts.
        """
        pool = facts.forget
        if self.pool == "wrong":
            given = measure(model, answers_of(model, pool, asked)).answered
            pool = tuple(fact for fact, known in zip(pool, given, strict=True) if not known)
            if not pool:
                raise ValueError(
                    f"{model.source} answers all {len(facts.forget)} facts to be forgotten before "
                    "the attack: the pool 'wrong' is empty; take 'all', or unlearn first."
                )
        return Scene(model, pool, self._watched(facts), form, asked)

    def _watched(self, facts: FactSet) -> tuple[Fact, ...]:
        """The retained facts that are asked."""
        count = min(self.retain_facts, len(facts.retain))
        return tuple(random.Random(0).sample(facts.retain, count))

    def _splits(self, scene: Scene, trial: Trial) -> dict[str, tuple[Fact, ...]]:
        return {ATTACKED: trial.taught, REST: trial.rest, RETAIN: scene.retain}


def _named(controls: Mapping[str, HookedModel]) -> dict[str, HookedModel]:
    for name in controls:
        if name == ATTACKED_CHECKPOINT or not name.strip():
            raise ValueError(f"A control cannot be called {name!r}: give it another name.")
    return dict(controls)


def _rows(attack: str, model: str, trial: Trial, look: Look) -> Iterator[dict[str, object]]:
    for split, tally in look.tallies.items():
        low, high = wilson_interval(tally.correct, tally.n)
        yield {
            "attack": attack,
            "model": model,
            "variant": trial.variant,
            "lr": trial.lr,
            "seed": trial.seed,
            "fold": trial.fold,
            "epoch": look.epoch,
            "step": look.step,
            "budget": look.budget,
            "split": split,
            "correct": tally.correct,
            "n": tally.n,
            "score": tally.score,
            "low": low,
            "high": high,
            "facts": list(tally.facts),
            "answered": list(tally.answered),
            "note": " ".join(note for note in (trial.note, look.note) if note),
        }
