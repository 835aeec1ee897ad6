"""A model that is made to forget, and what one step of its training shows.

Objectives and regularizers see this much of a run and no more: neither the optimizer, nor how many
processes share the work. What they compute is a *sum over the facts they were given, divided by
counts of the whole step*, so that the parts of a step add up to it however it is divided.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel

Gradients = dict[str, Tensor]
"""One tensor per parameter that is trained, by its name in the Hugging Face model, and like it in
shape, device and sharding. A parameter that has no part in the result may be missing."""

Terms = dict[str, Float[Tensor, ""]]
"""Terms of a loss, already weighted: their sum is the loss."""


@dataclass(frozen=True, eq=False)
class Portion:
    """Facts that are passed through the model together: a part of one step's."""

    facts: tuple[Fact, ...]
    batch: Batch

    step_facts: int
    """Facts in the whole step: of all portions, in all processes."""

    step_tokens: int
    """Their answers' tokens."""


@dataclass(frozen=True, eq=False)
class TrainingState:
    """The model under training, and what it is held against."""

    model: HookedModel

    reference: HookedModel | None
    """The model before, frozen; None where neither objective nor regularizer asks for it."""

    form: str
    """How a fact is put to the model, one of `neuronscope.facts.prompts.PROMPT_FORMS`."""

    def asked(self, facts: tuple[Fact, ...], answer: str | None = None) -> Batch:
        """Facts as tokens, without rivals.

        Args:
            answer: In the place of each fact's own.

        Raises:
            ValueError: If one cannot be put into tokens.
        """
        words = self.model.tokenizer
        asked = [encode(fact, words, self.form, answer or fact.answer) for fact in facts]
        return Batch.of(asked, self.model.device)

    def before(self) -> HookedModel:
        """The reference, where it was asked for."""
        assert self.reference is not None, "whoever reads the reference says that it needs one"
        return self.reference


@dataclass(frozen=True, eq=False)
class Step:
    """One step, as a regularizer sees it."""

    number: int
    """From 1."""

    training: TrainingState

    forget: tuple[Portion, ...]
    """This process's portions of the forget batch."""

    gradient: Callable[[Callable[[Portion], Float[Tensor, ""]]], Gradients]
    """The gradient of a sum over the step's facts: is given what one portion adds to it, and goes
    over all portions of all processes."""

    total: Callable[[Tensor], Tensor]
    """A tensor summed over processes."""

    log_prob_gradient: Gradients | None
    """Σ_x ∂log P(y|x)/∂φ over the forget batch, where the objective's own backward pass held it.
    It is the regularizer's, which may write over it."""
