"""The interface of an attack: what it runs on, and the table that it returns."""

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
"""Returns the rows of a numbered run: stored rows, or those that the function computes."""


def keep_nothing(number: int, make: Callable[[], Rows]) -> Rows:
    """Compute every run; store nothing."""
    del number
    return make()


@dataclass(frozen=True, eq=False)
class Scene:
    """What an attack runs on: the same for the attacked checkpoint and for every control."""

    model: HookedModel
    """The attacked checkpoint."""

    pool: tuple[Fact, ...]
    """The forget-split facts that the attack tries to recover."""

    retain: tuple[Fact, ...]
    """The retain-split facts that are evaluated."""

    form: str
    """The prompt form of the facts that the attack trains on."""

    asked: str
    """The prompt form of the facts that are evaluated."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of an attack, repeated on each model."""

    rest: tuple[Fact, ...]
    """Facts of the pool that the attack does not train on."""

    taught: tuple[Fact, ...] = ()
    """Facts that the attack trains on; empty if it does not train."""

    variant: str = ""
    """What distinguishes this run from the others besides learning rate, seed and fold."""

    lr: float = nan
    seed: int = 0
    fold: int = 0
    note: str = ""


@dataclass(frozen=True)
class Measurement:
    """What a model answers at one point of an attack."""

    tallies: Mapping[str, Tally]
    """Answers by split."""

    step: int = 0
    epoch: float = nan
    budget: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Attack(ABC):
    """An attempt to recover unlearned facts. The fields are its hyperparameters.

    The attack leaves the attacked model and every control bitwise unchanged. Seeds determine
    everything random: the same attack on the same models returns the same table.
    """

    pool: Literal["all", "wrong"] = "all"
    """Forget-split facts to recover: all of them, or only those that the attacked checkpoint
    answers wrongly before the attack (arXiv 2509.22263), so that facts which were never forgotten
    do not count as recovered. With wrong, the pool differs between checkpoints."""

    retain_facts: int = 64
    """Evaluate at most this many facts of the retain split."""

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
        """Run the attack on a model and on every control.

        Args:
            facts: The attack tries to recover the facts of split `forget`, and evaluates those of
                split `retain` as well.
            controls: Other models, by the name for the column `model`: usually `original`, the
                model before unlearning, and `never_knew`, a model that never learned the facts.
                Recovery is measured relative to the same attack on them.
            form: The prompt form of the facts that the attack trains on, one of
                `neuronscope.facts.prompts.PROMPT_FORMS`.
            asked: The prompt form of the facts that are evaluated; the same as `form` by default.
            progress: Called after each run.
            keep: Called for each run; runs are numbered across all models.

        Returns:
            One row per model, run, evaluation and split, with the columns of
            `neuronscope.results.attack_table.COLUMNS`.

        Raises:
            ValueError: If facts, models and settings do not fit together; raised before any
                training.
            FileNotFoundError: If a file that the attack needs does not exist.
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
        """Check, before any model is loaded, that the attack can run on these facts.

        Args:
            tokenizers: Those of the attacked checkpoint and of every control.
            form: The prompt form of the facts that the attack trains on.
            asked: The prompt form of the facts that are evaluated.

        Raises:
            ValueError, FileNotFoundError: If something is missing; the message says what.
        """
        if not facts.forget:
            raise ValueError(
                f"{facts.source or 'The facts'}: no fact has split 'forget', so there is "
                "nothing to recover. Mark the facts that were unlearned with this split."
            )
        for argument, name in (("form", form), ("asked", asked)):
            if name not in PROMPT_FORMS:
                known = ", ".join(PROMPT_FORMS)
                raise ValueError(f"Expected `{argument}` to be one of {known}, got {name!r}.")
        for tokenizer in tokenizers:
            for fact in (*facts.forget, *self._watched(facts)):
                encode(fact, tokenizer, asked, fact.answer)
        self.check_own(facts, tokenizers, form)

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        """Check the further requirements of this kind of attack; by default, there are none.

        Raises:
            ValueError, FileNotFoundError: If something is missing; the message says what.
        """
        del facts, tokenizers, form

    @abstractmethod
    def trials(self, scene: Scene) -> list[Trial]:
        """List the runs that make up the attack.

        Raises:
            ValueError, FileNotFoundError: If the attack cannot run on these facts or this model.
        """

    @abstractmethod
    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Measurement]:
        """Attack a copy of a model; measure it before the attack and repeatedly during it.

        Args:
            questions: The facts to evaluate each time.
        """

    def _rows(
        self, name: str, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Rows:
        """Run the attack once and return rows of the table."""
        attack = type(self).__module__.rpartition(".")[2]
        measurements = self.run(model, trial, scene, questions)
        return [row for one in measurements for row in _rows(attack, name, trial, one)]

    def scene(self, model: HookedModel, facts: FactSet, form: str, asked: str) -> Scene:
        """Choose the facts for the attack on this model.

        Raises:
            ValueError: If the pool is empty.
        """
        pool = facts.forget
        if self.pool == "wrong":
            answered = measure(model, answers_of(model, pool, asked)).answered
            pool = tuple(fact for fact, known in zip(pool, answered, strict=True) if not known)
            if not pool:
                raise ValueError(
                    f"{model.source} answers all {len(facts.forget)} forget-split facts before "
                    "the attack, so pool='wrong' is empty. Use pool='all', or unlearn first."
                )
        return Scene(model, pool, self._watched(facts), form, asked)

    def _watched(self, facts: FactSet) -> tuple[Fact, ...]:
        """The retain-split facts that are evaluated."""
        count = min(self.retain_facts, len(facts.retain))
        return tuple(random.Random(0).sample(facts.retain, count))

    def _splits(self, scene: Scene, trial: Trial) -> dict[str, tuple[Fact, ...]]:
        return {ATTACKED: trial.taught, REST: trial.rest, RETAIN: scene.retain}


def _named(controls: Mapping[str, HookedModel]) -> dict[str, HookedModel]:
    for name in controls:
        if name == ATTACKED_CHECKPOINT or not name.strip():
            raise ValueError(f"Controls cannot have the name {name!r}; choose a different name.")
    return dict(controls)


def _rows(
    attack: str, model: str, trial: Trial, measurement: Measurement
) -> Iterator[dict[str, object]]:
    for split, tally in measurement.tallies.items():
        low, high = wilson_interval(tally.correct, tally.n)
        yield {
            "attack": attack,
            "model": model,
            "variant": trial.variant,
            "lr": trial.lr,
            "seed": trial.seed,
            "fold": trial.fold,
            "epoch": measurement.epoch,
            "step": measurement.step,
            "budget": measurement.budget,
            "split": split,
            "correct": tally.correct,
            "n": tally.n,
            "score": tally.score,
            "low": low,
            "high": high,
            "facts": list(tally.facts),
            "answered": list(tally.answered),
            "note": " ".join(note for note in (trial.note, measurement.note) if note),
        }
