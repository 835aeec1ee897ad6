"""What attacks that fine-tune have in common: the grid, and what is watched while they train.

A short attack proves hiding when it succeeds, and nothing when it fails: deeper suppression takes
more steps. So every run goes on for the same number of steps, several times through the attacked
facts and long after they are answered at one of the rates, and the whole curve is kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Attack, Look, Scene, Trial
from neuronscope.attacks._tally import Questions, Tally
from neuronscope.facts.fact import Fact, quoted
from neuronscope.facts.prompts import check_encodable
from neuronscope.models.hooked_model import HookedModel
from neuronscope.training import Run, TrainingConfig, finetune
from neuronscope.training.evaluation import Callback
from neuronscope.training.loop import OUT_OF_STEPS

FEWEST = 2
"""Facts that are attacked at least: one alone teaches its own answer and no more."""


@dataclass(frozen=True)
class Relearning(Attack):
    """Fine-tune a copy on some facts alone, and watch others.

    No facts are kept in mind: the loss is the answers' negative log-likelihood, and nothing else.
    """

    learning_rates: tuple[float, ...] = (1e-6, 5e-6, 1e-5)
    """Step sizes, each a run of its own: what comes back depends on it more than on the method.
    The grid of arXiv 2509.22263. LoRA wants about ten times as much."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each draws other facts to attack and another order. Three, as in arXiv 2509.22263."""

    steps: int = 60
    """Updates of each run, the same for all so that budgets are equal. On SmolLM2-135M checkpoints
    suppressed to log-odds of -6 gave answers back after 19 steps at 5e-6; sixty are three times
    that. If the attacked facts are not answered at the end of any run, take more."""

    epochs: int = 6
    """Times through the attacked facts at least: where they are many, runs are longer than
    `steps`."""

    batch: int = 4
    """Facts in each step; all of them where there are fewer."""

    evaluate_every: int = 2
    """Steps between two looks."""

    lora_rank: int | None = None
    """Train low-rank adapters of this rank instead of all parameters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("learning_rates", "seeds"):
            values = vars(self)[name]
            if not values or len(set(values)) < len(values):
                raise ValueError(f"Expected {name} without repeats, one or more, got {values}.")
        if min(self.learning_rates) <= 0:
            raise ValueError(f"Expected learning rates above 0, got {self.learning_rates}.")
        for name in ("steps", "epochs"):
            if vars(self)[name] < 0:
                raise ValueError(f"Expected {name} of 0 or more, got {vars(self)[name]}.")
        for name in ("batch", "evaluate_every"):
            if vars(self)[name] < 1:
                raise ValueError(f"Expected {name} of 1 or more, got {vars(self)[name]}.")

    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Look]:
        check_encodable(trial.taught, model.tokenizer, scene.form)
        if self.updates(len(trial.taught)) == 0:
            yield Look(questions(model), epoch=0.0)
            return
        seen: dict[int, dict[str, Tally]] = {}

        def look(step: int, model: HookedModel) -> None:
            seen[step] = questions(model)

        done = self._trained(model, trial, scene, look)
        early = "" if done.stopped.startswith(OUT_OF_STEPS) else done.stopped
        size = min(self.batch, len(trial.taught))
        for step, tallies in seen.items():
            yield Look(tallies, step, step * size / len(trial.taught), step * trial.lr, early)

    def hardest(self) -> "Relearning":
        """The attack at its largest rate alone, with its first seed.

        What is watched is the same for all such attacks, since no weight depends on it.
        """
        rates, seeds = (max(self.learning_rates),), self.seeds[:1]
        return replace(self, learning_rates=rates, seeds=seeds, retain_facts=0, evaluate_every=1)

    def first_run(self, model: HookedModel, scene: Scene) -> Run:
        """The first of the attack's runs, on a copy of a model, for what is left at its end.

        Raises:
            ValueError: If the attack has no steps.
        """
        return self._trained(model, self.trials(scene)[0], scene, None)

    def updates(self, taught: int) -> int:
        """Steps of a run that teaches so many facts."""
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


def check_teachable(
    facts: Sequence[Fact], tokenizers: Sequence[PreTrainedTokenizerBase], form: str
) -> None:
    """Find out whether any of the facts could be taught.

    Raises:
        ValueError: As `encode`, of the first that cannot.
    """
    for tokenizer in tokenizers:
        check_encodable(facts, tokenizer, form)


def shared_answers(taught: Sequence[Fact], rest: Sequence[Fact]) -> str:
    """A note on answers that the rest shares with what is taught; empty if there are none."""
    known = {fact.answer.strip() for fact in taught}
    shared = [fact for fact in rest if fact.answer.strip() in known]
    if not shared:
        return ""
    return (
        f"{len(shared)} of {len(rest)} facts of the rest have an answer that is taught, first "
        f"{quoted(shared[0].id)}: they can be guessed; hold them against a model that never knew."
    )
