"""Stop when the forget split can be extracted no better than facts that were never trained on.

The criterion of Jang et al. (arXiv 2210.01504): extraction likelihood EL_n and memorization
accuracy MA are both at or below their means over unseen texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from neuronscope.facts.fact import Fact, FactSet
from neuronscope.metrics import Span, spanned
from neuronscope.metrics.extraction_likelihood import ExtractionLikelihood
from neuronscope.metrics.memorization_accuracy import MemorizationAccuracy
from neuronscope.models.answers import answers_of
from neuronscope.models.hooked_model import HookedModel
from neuronscope.stopping._base import StopRule, at_or_under

EL, MA = "forget_extraction_likelihood", "forget_memorization_accuracy"


@dataclass(frozen=True)
class Extraction(StopRule):
    """Stop when the forget split can be extracted no better than unseen facts."""

    likelihood: float | None = None
    """Extraction likelihood EL_n at which to stop; by default, the mean of the original model on
    facts of split test or, without these, utility."""

    accuracy: float | None = None
    """Memorization accuracy at which to stop; by default, the mean on the same facts as for the
    likelihood."""

    n: int = 3
    """Tokens per n-gram. The paper uses 10, for texts of 200 tokens; answers are shorter."""

    span: Span = "answer"
    """Tokens to evaluate: the answer after its prompt, which is what unlearning changes; or prompt
    and answer, as in the paper, whose texts have no prompt."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Expected n of 1 or more, got {self.n}.")
        for name in ("likelihood", "accuracy"):
            level = vars(self)[name]
            if level is not None and not 0 <= level <= 1:
                raise ValueError(f"Expected `{name}` from 0 to 1, got {level}.")

    def check(self, facts: FactSet, form: str) -> None:
        super().check(facts, form)
        if (self.likelihood is None or self.accuracy is None) and not _unseen(facts):
            raise ValueError(
                f"{facts.source or 'The facts'}: no fact has split 'test' or 'utility', on which "
                "to compute the levels; add such facts, or set both `likelihood` and `accuracy`."
            )

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "Extraction":
        """The rule with both levels."""
        self.check(facts, form)
        self._check_lengths(model, facts.forget, form, "forget")
        if self.likelihood is not None and self.accuracy is not None:
            return self
        self._check_lengths(model, _unseen(facts), form, "test or utility")
        unseen = self._measured(model, _unseen(facts), form)
        return replace(
            self,
            likelihood=unseen[EL] if self.likelihood is None else self.likelihood,
            accuracy=unseen[MA] if self.accuracy is None else self.accuracy,
        )

    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        return self._measured(model, facts.forget, form)

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        del norm
        likely = at_or_under(EL, scores[EL], self.likelihood)
        if not (at_or_under(MA, scores[MA], self.accuracy) and likely):
            return None
        return (
            f"On the forget split, extraction likelihood is {scores[EL]:.4f} and memorization "
            f"accuracy {scores[MA]:.4f}, at or below {self.likelihood:.4f} and "
            f"{self.accuracy:.4f}."
        )

    def _measured(self, model: HookedModel, facts: tuple[Fact, ...], form: str) -> dict[str, float]:
        likelihood = ExtractionLikelihood(self.n, self.span)(model, facts, form)
        accuracy = MemorizationAccuracy(self.span)(model, facts, form)
        return {EL: likelihood.value, MA: accuracy.value}

    def _check_lengths(
        self, model: HookedModel, facts: tuple[Fact, ...], form: str, split: str
    ) -> None:
        texts = [spanned(one, self.span) for one in answers_of(model, facts, form)]
        longest = max(len(one.tokens) - one.prompt_length for one in texts)
        if longest <= self.n:
            raise ValueError(
                f"n={self.n} needs texts of more than {self.n} tokens, but those of split {split} "
                f"have at most {longest}; decrease `n`, or choose a different stop rule."
            )


def _unseen(facts: FactSet) -> tuple[Fact, ...]:
    return facts.test or facts.utility
