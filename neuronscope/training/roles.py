"""Roles of the facts of a run: those to train on, and those whose answers are counted."""

from collections.abc import Sequence
from dataclasses import dataclass

from neuronscope.facts.fact import Fact, FactSet
from neuronscope.training.config import TrainingConfig
from neuronscope.training.sampling import batches


@dataclass(frozen=True)
class Roles:
    """The facts of a run, by role."""

    trained: FactSet
    """Facts to train on: the forget term of the objective uses those of split `forget`, its retain
    term those of split `retain`."""

    targets: tuple[Fact, ...]
    """Facts to forget, or watched facts: the history records their answers and mean log-odds."""

    others: tuple[Fact, ...]
    """Facts to retain, or facts to fine-tune on: the history records their answers."""

    names: tuple[str, str]
    """Suffixes of the history's columns for targets and others."""

    @staticmethod
    def of_unlearning(facts: FactSet, config: TrainingConfig) -> "Roles":
        """Train on both splits and count the answers of both.

        Of the retain split, at most `config.evaluate_facts` facts are evaluated.
        """
        return Roles(facts, facts.forget, _sample(facts.retain, config), ("forget", "retain"))

    @staticmethod
    def of_finetuning(
        taught: Sequence[Fact], watched: Sequence[Fact], config: TrainingConfig
    ) -> "Roles":
        """Fine-tune on the taught facts, with the retain term only, and evaluate watched facts."""
        trained = FactSet(retain=tuple(taught))
        others = _sample(trained.retain, config)
        return Roles(trained, tuple(watched), others, ("watched", "taught"))

    def labelled(self) -> list[tuple[str, Fact]]:
        """Every fact that affects the run or its history, with its split or role."""
        watched = () if self.targets == self.trained.forget else self.targets
        return [*self.trained, *(("watched", fact) for fact in watched)]


def _sample(facts: tuple[Fact, ...], config: TrainingConfig) -> tuple[Fact, ...]:
    return next(batches(facts, config.evaluate_facts, config.seed, "evaluate"))
