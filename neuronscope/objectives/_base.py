"""The interface of all objectives."""

from abc import ABC, abstractmethod

from neuronscope.facts.fact import FactSet
from neuronscope.objectives._training_state import Gradients, Portion, Terms, TrainingState


class Objective(ABC):
    """A loss over the forget set and the retain set, with its hyper-parameters as fields.

    Its two halves run forward and backward one after the other, so that only one of them holds
    memory at a time.
    """

    @property
    def needs_reference(self) -> bool:
        """Whether the loss uses the original model."""
        return False

    @property
    @abstractmethod
    def needs_retain(self) -> bool:
        """Whether the loss uses the retain set."""

    @abstractmethod
    def forget(self, training: TrainingState, portion: Portion) -> Terms:
        """The terms computed on the forget set."""

    def retain(self, training: TrainingState, portion: Portion) -> Terms:
        """The terms computed on the retain set; none by default."""
        del training, portion
        return {}

    def log_prob_weight(self, portion: Portion) -> float | None:
        """The c for which the forget terms equal c · Σ_x log P(y|x), or None if there is none.

        With such a c, a regularizer on log P can reuse the objective's backward pass.
        """
        del portion
        return None

    def where(self, training: TrainingState, facts: FactSet) -> Gradients | None:
        """Masks of ones and zeros for the parameter entries that may change; None means all.

        Parameters without a mask stay fixed. Called once, on the original model.
        """
        del training, facts
        return None

    def check(self, facts: FactSet) -> None:
        """Raise if the facts lack what this objective needs; called before a model is loaded.

        Raises:
            ValueError: Naming what is missing.
        """
        check_splits(facts, self.needs_retain)


def check_splits(facts: FactSet, needs_retain: bool) -> None:
    """Raise if a required split is empty.

    Raises:
        ValueError: Naming the missing split.
    """
    if not facts.forget:
        raise ValueError(f"{facts.source or 'The facts'}: no fact of split 'forget'.")
    if needs_retain and not facts.retain:
        raise ValueError(
            f"{facts.source or 'The facts'}: no fact of split 'retain', which this objective "
            "needs: add some, or choose an objective or retain term that needs none."
        )
