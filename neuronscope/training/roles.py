"""What the facts of a run are for: those it trains on, and those whose answers it counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from neuronscope.facts.fact import Fact, FactSet
from neuronscope.training.config import TrainingConfig
from neuronscope.training.sampling import batches


@dataclass(frozen=True)
class Roles:
    """The facts of a run, by what they are for."""

    trained: FactSet
    """Where batches come from: the objective's forget term is given those of split `forget`, its
    retain term those of split `retain`."""

    targets: tuple[Fact, ...]
    """Facts to be forgotten, or watched: the history has their answers and mean log-odds."""

    others: tuple[Fact, ...]
    """Facts to be kept, or taught: the history has their answers."""

    names: tuple[str, str]
    """How the history calls targets and others, at the end of its columns."""

    @staticmethod
    def of_unlearning(facts: FactSet, config: TrainingConfig) -> "Roles":
        """Train on both splits, and count the answers of both.

        Of the facts to be kept no more are counted than `config.evaluate_facts`.
        """
        return Roles(facts, facts.forget, _sample(facts.retain, config), ("forget", "retain"))

    @staticmethod
    def of_finetuning(
        taught: Sequence[Fact], watched: Sequence[Fact], config: TrainingConfig
    ) -> "Roles":
        """Train on the facts that are taught, through the retain term alone; watch others."""
        trained = FactSet(retain=tuple(taught))
        others = _sample(trained.retain, config)
        return Roles(trained, tuple(watched), others, ("watched", "taught"))

    def labelled(self) -> list[tuple[str, Fact]]:
        """Every fact that decides a number of the run or of its history, with what it is for."""
        watched = () if self.targets == self.trained.forget else self.targets
        return [*self.trained, *(("watched", fact) for fact in watched)]


def _sample(facts: tuple[Fact, ...], config: TrainingConfig) -> tuple[Fact, ...]:
    return next(batches(facts, config.evaluate_facts, config.seed, "evaluate"))
