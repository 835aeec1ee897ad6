"""What every objective takes and returns."""

from abc import ABC, abstractmethod

from neuronscope.facts.fact import FactSet
from neuronscope.objectives._training_state import Gradients, Portion, Terms, TrainingState


class Objective(ABC):
    """A loss on facts to be forgotten and facts to be kept: hyper-parameters, and its two halves.

    The halves are passed forward and backward one after the other, so that only one holds memory.
    """

    @property
    def needs_reference(self) -> bool:
        """Whether it reads the model before."""
        return False

    @property
    @abstractmethod
    def needs_retain(self) -> bool:
        """Whether it reads facts that are to be kept."""

    @abstractmethod
    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        """The terms that make the model forget."""

    def retain(self, training: TrainingState, portion: Portion) -> Terms:
        """The terms that keep the rest; none, unless it says otherwise."""
        del training, portion
        return {}

    def log_prob_weight(self, portion: Portion) -> float | None:
        """The c with which the forget terms are c · Σ_x log P(y|x); None where they are not.

        Where they are, a regularizer on log P need not pass backward itself.
        """
        del portion
        return None

    def where(self, training: TrainingState, facts: FactSet) -> Gradients | None:
        """Which entries of which parameters may change, as ones and zeros; None: every one.

        A parameter that is not named does not change. Asked once, of the model before.
        """
        del training, facts
        return None

    def check(self, facts: FactSet) -> None:
        """Refuse facts that it cannot be had of, before any model is loaded.

        Raises:
            ValueError: With what is missing.
        """
        check_splits(facts, self.needs_retain)


def check_splits(facts: FactSet, needs_retain: bool) -> None:
    """Refuse facts without a split that is needed.

    Raises:
        ValueError: With what is missing.
    """
    if not facts.forget:
        raise ValueError(f"{facts.source or 'The facts'}: no fact of split 'forget'.")
    if needs_retain and not facts.retain:
        raise ValueError(
            f"{facts.source or 'The facts'}: no fact of split 'retain', which this objective "
            "needs: mark some, or take an objective or a retain term without."
        )
