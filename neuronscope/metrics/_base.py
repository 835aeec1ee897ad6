"""What every metric takes and returns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedTokenizerBase

from neuronscope.facts.fact import Fact, quoted
from neuronscope.facts.prompts import encode
from neuronscope.metrics._answers import options
from neuronscope.metrics._score import Score
from neuronscope.models.hooked_model import HookedModel, frozen

Need = Literal["distractors", "reference", "holdout"]


@dataclass(frozen=True, eq=False)
class Exam:
    """A model, and the facts on which it is scored."""

    model: HookedModel

    facts: tuple[Fact, ...]

    form: str
    """How a fact is put to the model, one of `neuronscope.facts.prompts.PROMPT_FORMS`."""

    reference: HookedModel | None
    """A model to compare with, mostly one that never saw the facts."""

    holdout: tuple[Fact, ...]
    """Facts of the same kind that no model saw."""

    @property
    def ids(self) -> list[str]:
        """The facts' ids."""
        return [fact.id for fact in self.facts]

    def compared(self) -> HookedModel:
        """The reference, where it was asked for."""
        assert self.reference is not None, "whoever reads the reference says that it needs one"
        return self.reference


class Metric(ABC):
    """A way to score a model: hyper-parameters, and the score that they lead to.

    The model is read in evaluation mode and left as it was; batch mates and padding do not matter.
    """

    @property
    def needs(self) -> tuple[Need, ...]:
        """What it cannot do without, besides a model and facts."""
        return ()

    @property
    def generates(self) -> bool:
        """Whether it has the model write, token by token: far slower than to read."""
        return False

    def __call__(
        self,
        model: HookedModel,
        facts: Sequence[Fact],
        form: str = "completion",
        reference: HookedModel | None = None,
        holdout: Sequence[Fact] = (),
    ) -> Score:
        """Score a model, as it is now.

        Args:
            form: How a fact is put to it, one of `neuronscope.facts.prompts.PROMPT_FORMS`.
            reference: A model to compare with, mostly one that never saw the facts.
            holdout: Facts of the same kind that no model saw.

        Raises:
            ValueError: If the metric cannot be had of these facts or without more, or a fact cannot
                be put into tokens.
        """
        self.check(facts, reference, holdout)
        with ExitStack() as still, torch.no_grad():
            still.enter_context(frozen(model))
            if reference is not None:
                still.enter_context(frozen(reference))
            return self.measure(Exam(model, tuple(facts), form, reference, tuple(holdout)))

    @abstractmethod
    def measure(self, exam: Exam) -> Score:
        """The score, of what `check` has let pass."""

    def check(
        self, facts: Sequence[Fact], reference: HookedModel | str | None, holdout: Sequence[Fact]
    ) -> None:
        """Refuse what the metric cannot be had of, before anything is computed.

        Args:
            reference: The model, or its source while it is not loaded.

        Raises:
            ValueError: With what is missing.
        """
        name = type(self).__module__.rpartition(".")[2]
        if not facts:
            raise ValueError(f"{name}: expected at least one fact, got none.")
        bare = [fact for fact in facts if not fact.distractors]
        if "distractors" in self.needs and bare:
            raise ValueError(
                f"{name}: needs distractors, and fact {quoted(bare[0].id)} has none ({len(bare)} "
                "such facts); give them wrong answers of the same kind, or take another metric."
            )
        if "reference" in self.needs and reference is None:
            raise ValueError(
                f"{name}: needs a model to compare with, got none; pass a reference, mostly a "
                "model that never saw the facts."
            )
        if "holdout" in self.needs and not holdout:
            raise ValueError(
                f"{name}: needs facts that the model never saw, got none; pass a holdout, facts of "
                "the same kind."
            )

    def texts(self, fact: Fact, form: str) -> tuple[str, ...]:
        """What is read in the place of a fact's answer."""
        return options(fact, form) if "distractors" in self.needs else (fact.answer,)

    def check_tokens(
        self, facts: Sequence[Fact], tokenizer: PreTrainedTokenizerBase, form: str
    ) -> None:
        """Refuse facts that cannot be put into tokens, as far as the metric reads them.

        Raises:
            ValueError: As `encode`, of the first such fact.
        """
        for fact in facts:
            for text in self.texts(fact, form):
                encode(fact, tokenizer, form, text)
