"""The base class of all metrics."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from transformers import PreTrainedTokenizerBase

from neuronscope.facts.fact import Fact, quoted
from neuronscope.facts.prompts import encode
from neuronscope.metrics._answers import options
from neuronscope.metrics._score import Score
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import frozen

Need = Literal["distractors", "reference", "holdout"]


@dataclass(frozen=True, eq=False)
class Exam:
    """A model, the facts on which it is scored, and what it is compared with."""

    model: HookedModel

    facts: tuple[Fact, ...]

    form: str
    """The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`."""

    reference: HookedModel | None
    """A model to compare with, usually one that never learned the facts."""

    holdout: tuple[Fact, ...]
    """Facts of the same kind that no model was trained on."""

    @property
    def ids(self) -> list[str]:
        """The facts' ids."""
        return [fact.id for fact in self.facts]

    def compared(self) -> HookedModel:
        """The reference, for metrics that need one."""
        assert self.reference is not None, "the metric declares that it needs a reference"
        return self.reference


class Metric(ABC):
    """A metric: its fields are its hyper-parameters, and calling it scores a model.

    The model is scored in evaluation mode and left unchanged; batching and padding do not affect
    the score.
    """

    generates: ClassVar[bool] = False
    """Whether the metric generates text, which is far slower than teacher forcing."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the metric needs in addition to a model and facts."""
        return ()

    def __call__(
        self,
        model: HookedModel,
        facts: Sequence[Fact],
        form: str = "completion",
        reference: HookedModel | None = None,
        holdout: Sequence[Fact] = (),
    ) -> Score:
        """Score a model.

        Args:
            form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.
            reference: A model to compare with, usually one that never learned the facts.
            holdout: Facts of the same kind that no model was trained on.

        Raises:
            ValueError: If the metric needs more than these facts and arguments provide, or a fact
                cannot be encoded.
        """
        self.check(facts, reference, holdout)
        with ExitStack() as still, torch.no_grad():
            still.enter_context(frozen(model))
            if reference is not None:
                still.enter_context(frozen(reference))
            return self.measure(Exam(model, tuple(facts), form, reference, tuple(holdout)))

    @abstractmethod
    def measure(self, exam: Exam) -> Score:
        """Compute the score; `check` has passed."""

    def check(
        self, facts: Sequence[Fact], reference: HookedModel | str | None, holdout: Sequence[Fact]
    ) -> None:
        """Check that the metric can be computed, before any model is evaluated.

        Args:
            reference: The model, or its source if it is not loaded yet.

        Raises:
            ValueError: Naming what is missing.
        """
        name = type(self).__module__.rpartition(".")[2]
        if not facts:
            raise ValueError(f"{name}: expected at least one fact, got none.")
        bare = [fact for fact in facts if not fact.distractors]
        if "distractors" in self.needs and bare:
            raise ValueError(
                f"{name}: needs distractors, and fact {quoted(bare[0].id)} has none ({len(bare)} "
                "such facts); add wrong answers of the same kind, or choose another metric."
            )
        if "reference" in self.needs and reference is None:
            raise ValueError(
                f"{name}: needs a model to compare with, got none; pass a `reference`, usually a "
                "model that never learned the facts."
            )
        if "holdout" in self.needs and not holdout:
            raise ValueError(
                f"{name}: needs facts that the model never saw, got none; set `holdout_split`, or "
                "pass `holdout` to the metric."
            )

    def texts(self, fact: Fact, form: str) -> tuple[str, ...]:
        """The texts that the metric evaluates as a fact's answer."""
        return options(fact, form) if "distractors" in self.needs else (fact.answer,)

    def check_tokens(
        self, facts: Sequence[Fact], tokenizer: PreTrainedTokenizerBase, form: str
    ) -> None:
        """Check that every text that the metric evaluates can be encoded.

        Raises:
            ValueError: From `encode`, for the first text that cannot be encoded.
        """
        for fact in facts:
            for text in self.texts(fact, form):
                encode(fact, tokenizer, form, text)
