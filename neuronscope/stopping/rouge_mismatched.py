"""Stop when answers overlap with the true answers no more than answers to different questions do.

The criterion of arXiv 2509.22263 on TOFU: the ROUGE-L recall of the model's answers on the forget
split is at or below τ, the mean ROUGE-L recall of true answers against randomly mismatched ones.
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
    """Mean ROUGE-L recall at which to stop; by default, that of mismatched answers."""

    seed: int = 0
    """Seed for mismatching the answers."""

    permutations: int = 100
    """Number of times to mismatch all answers."""

    max_new_tokens: int = 200
    """Maximum number of tokens to generate; 200 as in the TOFU benchmark."""

    def __post_init__(self) -> None:
        if self.tau is not None and not 0 <= self.tau <= 1:
            raise ValueError(f"Expected `tau` from 0 to 1, got {self.tau}.")
        if self.permutations < 1:
            raise ValueError(f"Expected permutations of 1 or more, got {self.permutations}.")

    def check(self, facts: FactSet, form: str) -> None:
        super().check(facts, form)
        if self.tau is None and len({fact.answer.strip() for fact in facts.forget}) < 2:
            raise ValueError(
                "Mismatching needs at least two different answers in the forget split; add facts, "
                "or set `tau`."
            )

    def prepare(self, model: HookedModel, facts: FactSet, form: str) -> "RougeMismatched":
        """The rule with τ."""
        del model
        self.check(facts, form)
        if self.tau is not None:
            return self
        answers = [fact.answer.strip() for fact in facts.forget]
        tau = mismatched_rouge_l(answers, self.seed, self.permutations)
        if math.isnan(tau):
            raise ValueError(
                "ROUGE considers only words of the characters a-z and 0-9, and no answer of the "
                "forget split has any; choose a different stop rule."
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
            f"The ROUGE-L recall of answers on the forget split is {scores[NAME]:.4f}, at or below "
            f"that of mismatched answers, {self.tau:.4f}."
        )


def mismatched_rouge_l(answers: Sequence[str], seed: int, permutations: int) -> float:
    """Mean ROUGE-L recall of answers against those of different questions; NaN if none has words.

    Pairs of questions with the same answer are not mismatches and do not count.

    Raises:
        ValueError: If all answers are the same.
    """
    if len(set(answers)) < 2:
        raise ValueError("Expected at least two different answers, got one.")
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
    """A random permutation without fixed points, which is a single cycle."""
    order = rng.permutation(count)
    partner = np.empty(count, dtype=int)
    partner[order] = np.roll(order, -1)
    return partner
