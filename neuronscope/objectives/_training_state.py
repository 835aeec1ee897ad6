"""The state of a training run that objectives and regularizers can access.

They see neither the optimizer nor how many processes share the work. Everything they compute is a
*sum over the given facts, divided by counts of the whole step*, so that the parts of a step add up
to the same result however the step is divided.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel

Gradients = dict[str, Tensor]
"""One tensor per trained parameter, keyed by its name in the Hugging Face model, with its shape,
device and sharding. Parameters that do not affect the result may be missing."""

Terms = dict[str, Float[Tensor, ""]]
"""The weighted terms of a loss; their sum is the loss."""


@dataclass(frozen=True, eq=False)
class Portion:
    """Facts of one step that pass through the model together."""

    facts: tuple[Fact, ...]
    batch: Batch

    step_facts: int
    """Number of facts in the whole step, over all portions and processes."""

    step_tokens: int
    """Number of answer tokens of these facts."""


@dataclass(frozen=True, eq=False)
class TrainingState:
    """The model in training, and its reference."""

    model: HookedModel

    reference: HookedModel | None
    """The original model, frozen; None if neither objective nor regularizer needs it."""

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
        """The original model, for objectives and regularizers that need it."""
        assert self.reference is not None, "needs_reference must be True to use the reference"
        return self.reference


@dataclass(frozen=True, eq=False)
class Step:
    """One training step, as seen by a regularizer."""

    number: int
    """Counted from 1."""

    training: TrainingState

    forget: tuple[Portion, ...]
    """This process's portions of the forget batch."""

    gradient: Callable[[Callable[[Portion], Float[Tensor, ""]]], Gradients]
    """Computes the gradient of a sum over the step's facts, given the function that computes a
    portion's summand; covers all portions of all processes."""

    total: Callable[[Tensor], Tensor]
    """Sums a tensor over processes."""

    log_prob_gradient: Gradients | None
    """Σ_x ∂log P(y|x)/∂φ over the forget batch, if the objective's backward pass provides it. The
    regularizer may overwrite it."""
