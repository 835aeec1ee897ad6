"""Stop when answers are no nearer to the truth than answers to other questions are.

The criterion of arXiv 2509.22263 on TOFU: ROUGE-L recall of what the model answers on the forget
split, at or under τ, the mean ROUGE-L recall of its answers against randomly mismatched ones.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from jaxtyping import Int

from neuronscope.facts.fact import FactSet
from neuronscope.metrics import rouge_l_score
from neuronscope.metrics.rouge_l import RougeL
from neuronscope.models.hooked_model import HookedModel
from neuronscope.stopping._base import StopRule, at_or_under

NAME = "forget_rouge_l"


@dataclass(frozen=True)
class RougeMismatched(StopRule):
    """Stop when the model's answers overlap with the true ones as little as mismatched ones do."""

    tau: float | None = None
    """Mean ROUGE-L recall at which to stop; if not given, that of mismatched answers."""

    seed: int = 0
    """Of the mismatching."""

    permutations: int = 100
    """How often the answers are mismatched."""

    max_new_tokens: int = 200
    """Tokens that the model may write, as in the TOFU benchmark."""

    def __post_init__(self) -> None:
        if self.tau is not None and not 0 <= self.tau <= 1:
            raise ValueError(f"Expected a tau from 0 to 1, got {self.tau}.")
        if self.permutations < 1:
            raise ValueError(f"Expected 1 permutation or more, got {self.permutations}.")

    def check(self, facts: FactSet, form: str) -> None:
        super().check(facts, form)
        if self.tau is None and len({fact.answer.strip() for fact in facts.forget}) < 2:
            raise ValueError(
                "Answers can be mismatched only where the forget split has two different ones; add "
                "facts, or give tau."
            )

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "RougeMismatched":
        """With τ."""
        del model
        self.check(facts, form)
        if self.tau is not None:
            return self
        answers = [fact.answer.strip() for fact in facts.forget]
        tau = mismatched_rouge_l(answers, self.seed, self.permutations)
        if math.isnan(tau):
            raise ValueError(
                "ROUGE makes words of a-z and 0-9 alone, and the forget split's answers have none; "
                "take another stop rule."
            )
        return replace(self, tau=tau)

    def score(self, model: HookedModel, facts: FactSet, form: str) -> dict[str, float]:
        metric = RougeL(max_new_tokens=self.max_new_tokens)
        return {NAME: metric(model, facts.forget, form).value}

    def __call__(self, scores: Mapping[str, float], norm: float) -> str | None:
        del norm
        if not at_or_under(NAME, scores[NAME], self.tau):
            return None
        return (
            f"Answers on the forget split have a ROUGE-L recall of {scores[NAME]:.4f}, at or under "
            f"that of mismatched ones, {self.tau:.4f}."
        )


def mismatched_rouge_l(answers: Sequence[str], seed: int, permutations: int) -> float:
    """Mean ROUGE-L recall of answers against those of other questions; NaN if none has words.

    A pair of questions with the same answer is no mismatch and does not count.

    Raises:
        ValueError: If all answers are the same.
    """
    if len(set(answers)) < 2:
        raise ValueError("Expected two different answers to mismatch, got one.")
    rng = np.random.default_rng(seed)
    pairs = [
        (own, answers[int(mate)])
        for _ in range(permutations)
        for own, mate in zip(answers, mismatching(len(answers), rng), strict=True)
        if own != answers[int(mate)]
    ]
    recalls = {(own, other): rouge_l_score(own, other, "recall") for own, other in set(pairs)}
    values = [recalls[pair] for pair in pairs if not math.isnan(recalls[pair])]
    return fmean(values) if values else math.nan


def mismatching(count: int, rng: np.random.Generator) -> Int[np.ndarray, " fact"]:
    """A random permutation that leaves nothing in its place: one cycle through all."""
    order = rng.permutation(count)
    partner = np.empty(count, dtype=int)
    partner[order] = np.roll(order, -1)
    return partner
