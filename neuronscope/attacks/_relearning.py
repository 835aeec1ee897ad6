"""The shared part of attacks that fine-tune: grid, training, and evaluations during training.

A short attack that succeeds shows that facts were hidden; one that fails shows nothing, because
deeper suppression takes more steps. Every run therefore takes the same, large number of steps
(several epochs over the attacked facts), so that at some learning rate the attacked facts are
answered long before the end. The whole curve is stored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Attack, Measurement, Scene, Trial
from neuronscope.attacks._tally import Questions, Tally
from neuronscope.facts.fact import Fact, quoted
from neuronscope.facts.prompts import check_encodable
from neuronscope.models.hooked_model import HookedModel
from neuronscope.training import Run, TrainingConfig, finetune
from neuronscope.training.evaluation import Callback
from neuronscope.training.loop import OUT_OF_STEPS

FEWEST = 2
"""Smallest number of facts to train on: with one, a model learns to always give its answer."""


@dataclass(frozen=True)
class Relearning(Attack):
    """Fine-tune a copy of the model on some facts, and evaluate others.

    The loss is the negative log-likelihood of the answers; it has no retain term.
    """

    learning_rates: tuple[float, ...] = (1e-6, 5e-6, 1e-5)
    """Learning rates, with a separate run for each: recovery depends on the rate more than on the
    method. The default is the grid of arXiv 2509.22263. LoRA needs rates about ten times higher."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds, with a separate run for each: a seed determines which facts are attacked, and their
    order. Three seeds, as in arXiv 2509.22263."""

    steps: int = 60
    """Updates per run, equal for all runs so that their budgets are equal. SmolLM2-135M checkpoints
    suppressed to log-odds of -6 recovered answers after 19 steps at 5e-6; the default is three
    times that. Increase it if the attacked facts are not answered at the end of any run."""

    epochs: int = 6
    """Smallest number of epochs over the attacked facts: with many facts, a run takes more than
    `steps` updates."""

    batch: int = 4
    """Facts per step; all of them if there are fewer."""

    evaluate_every: int = 2
    """Evaluate every this many steps."""

    lora_rank: int | None = None
    """Train low-rank adapters of this rank instead of all parameters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rates", "seeds"):
            values = vars(self)[name]
            if not values or len(set(values)) < len(values):
                raise ValueError(f"Expected one or more different `{name}`, got {values}.")
        if min(self.learning_rates) <= 0:
            raise ValueError(f"Expected learning_rates above 0, got {self.learning_rates}.")
        for name in ("steps", "epochs"):
            if vars(self)[name] < 0:
                raise ValueError(f"Expected {name} of 0 or more, got {vars(self)[name]}.")
        for name in ("batch", "evaluate_every"):
            if vars(self)[name] < 1:
                raise ValueError(f"Expected {name} of 1 or more, got {vars(self)[name]}.")

    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Measurement]:
        check_encodable(trial.taught, model.tokenizer, scene.form)
        if self.updates(len(trial.taught)) == 0:
            yield Measurement(questions(model), epoch=0.0)
            return
        tallies: dict[int, dict[str, Tally]] = {}

        def evaluate(step: int, model: HookedModel) -> None:
            tallies[step] = questions(model)

        done = self._trained(model, trial, scene, evaluate)
        early = "" if done.stopped.startswith(OUT_OF_STEPS) else done.stopped
        size = min(self.batch, len(trial.taught))
        for step, by_split in tallies.items():
            epoch = step * size / len(trial.taught)
            yield Measurement(by_split, step, epoch, step * trial.lr, early)

    def hardest(self) -> "Relearning":
        """The same attack with only its largest learning rate and its first seed.

        Evaluation settings are replaced by constants, because the weights do not depend on them.
        """
        rates, seeds = (max(self.learning_rates),), self.seeds[:1]
        return replace(self, learning_rates=rates, seeds=seeds, retain_facts=0, evaluate_every=1)

    def first_run(self, model: HookedModel, scene: Scene) -> Run:
        """Carry out the first run of the attack on a copy of a model, and return the trained copy.

        Raises:
            ValueError: If the attack has no steps.
        """
        return self._trained(model, self.trials(scene)[0], scene, None)

    def updates(self, taught: int) -> int:
        """Number of updates of a run that trains on this many facts."""
        return max(self.steps, ceil(self.epochs * taught / self.batch))

    def _trained(
        self, model: HookedModel, trial: Trial, scene: Scene, callback: Callback | None
    ) -> Run:
        config = TrainingConfig(
            steps=self.updates(len(trial.taught)),
            retain_batch=self.batch,
            micro_batch=self.batch,
            learning_rate=trial.lr,
            evaluate_every=self.evaluate_every,
            evaluate_facts=0,
            lora_rank=self.lora_rank,
            form=scene.form,
            seed=trial.seed,
        )
        # The caller of the attack shows the progress of all its runs.
        return finetune(model, trial.taught, config, callback=callback, progress=False)


def check_trainable(
    facts: Sequence[Fact], tokenizers: Sequence[PreTrainedTokenizerBase], form: str
) -> None:
    """Check that the attack can train on each of these facts.

    Raises:
        ValueError: From `encode`, for the first fact that cannot be encoded.
    """
    for tokenizer in tokenizers:
        check_encodable(facts, tokenizer, form)


def shared_answers(taught: Sequence[Fact], rest: Sequence[Fact]) -> str:
    """A note on held-out facts that share an answer with the attacked facts; empty if none do."""
    known = {fact.answer.strip() for fact in taught}
    shared = [fact for fact in rest if fact.answer.strip() in known]
    if not shared:
        return ""
    return (
        f"{len(shared)} of {len(rest)} held-out facts share their answer with an attacked fact, "
        f"the first of them {quoted(shared[0].id)}: these answers can be guessed; compare with a "
        "model that never learned the facts."
    )
