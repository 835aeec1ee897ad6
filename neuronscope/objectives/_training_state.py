"""The part of a training run that objectives and regularizers see.

They depend neither on the optimizer nor on the number of processes. A loss is a *sum over the facts
of a portion, divided by counts of the whole step*, so that the portions of a step add up to the
same loss however the step is divided.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel

Gradients = dict[str, Tensor]
"""One tensor per trained parameter, by the parameter's name in the Hugging Face model, with its
shape, device and sharding. Parameters without a gradient may be missing."""

Terms = dict[str, Float[Tensor, ""]]
"""Weighted terms of a loss, by name. The loss is their sum."""


@dataclass(frozen=True, eq=False)
class Portion:
    """A part of a step's facts, which passes through the model as one batch."""

    facts: tuple[Fact, ...]
    batch: Batch

    step_facts: int
    """Number of facts in the whole step, over all portions and processes."""

    step_tokens: int
    """Number of answer tokens in the whole step, over all portions and processes."""


@dataclass(frozen=True, eq=False)
class TrainingState:
    """The model in training, and the model before unlearning."""

    model: HookedModel

    reference: HookedModel | None
    """The frozen model before unlearning; None if neither objective nor regularizer needs it."""

    form: str
    """The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`."""

    def asked(self, facts: tuple[Fact, ...], answer: str | None = None) -> Batch:
        """Facts as a batch of tokens, without distractors.

        Args:
            answer: Replaces the answer of every fact.

        Raises:
            ValueError: If a fact cannot be tokenized.
        """
        tokenizer = self.model.tokenizer
        encoded = [encode(fact, tokenizer, self.form, answer or fact.answer) for fact in facts]
        return Batch.of(encoded, self.model.device)

    def before(self) -> HookedModel:
        """The model before unlearning.

        Only for methods whose `needs_reference` is true.
        """
        assert self.reference is not None, "needs_reference is true for methods that call this"
        return self.reference


@dataclass(frozen=True, eq=False)
class Step:
    """One training step, as a regularizer sees it."""

    number: int
    """Counted from 1."""

    training: TrainingState

    forget: tuple[Portion, ...]
    """This process's portions of the forget batch."""

    gradient: Callable[[Callable[[Portion], Float[Tensor, ""]]], Gradients]
    """Computes the gradient of a sum over the step's facts, given the function that computes one
    portion's part of the sum. Covers all portions of all processes."""

    total: Callable[[Tensor], Tensor]
    """Sums a tensor over processes."""

    log_prob_gradient: Gradients | None
    """Σ_x ∂log P(y|x)/∂φ over the forget batch, if the objective's own backward pass yields it. The
    regularizer may overwrite it."""
