"""Prompts completed with answers and distractors, and a model's states at their last tokens."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from neuronscope.evidence._base import Case
from neuronscope.evidence._states import ends, states_at
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.models.answers import groups
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import frozen


@dataclass(frozen=True, eq=False)
class Candidates:
    """The answers and distractors of some facts, each appended to the fact's prompt."""

    encoded: tuple[Encoded, ...]

    fact: Int[np.ndarray, " candidate"]
    """Index of the candidate's fact among the chosen facts."""

    true: Bool[np.ndarray, " candidate"]
    """Whether the candidate is the answer."""

    forget: Bool[np.ndarray, " fact"]
    """Which of the chosen facts are in the forget set; the others train the probe."""

    @staticmethod
    def of(case: Case, chosen: Bool[np.ndarray, " fact"]) -> "Candidates":
        """The candidates of the chosen facts, each of which must have distractors."""
        tokenizer = case.after.tokenizer
        facts = [fact for (_, fact), wanted in zip(case.facts, chosen, strict=True) if wanted]
        texts = [(fact.answer, *fact.distractors) for fact in facts]
        return Candidates(
            encoded=tuple(
                encode(fact, tokenizer, case.form, text)
                for fact, of_fact in zip(facts, texts, strict=True)
                for text in of_fact
            ),
            fact=np.repeat(np.arange(len(facts)), [len(of_fact) for of_fact in texts]),
            true=np.array([place == 0 for of_fact in texts for place in range(len(of_fact))]),
            forget=case.forget[chosen],
        )

    def states(
        self, model: HookedModel, layers: Int[np.ndarray, " layer"]
    ) -> Float[np.ndarray, "layer candidate residual"]:
        """The states at the candidates' last tokens, centred on the mean of each fact."""
        kept: dict[int, np.ndarray] = {}
        with frozen(model):
            for group in groups(self.encoded, model.vocabulary):
                batch = Batch.of([self.encoded[i] for i in group], model.device)
                states = states_at(model, batch.tokens, ends(batch.lengths.tolist(), model.device))
                for i, state in zip(group, states[layers.tolist()].unbind(1), strict=True):
                    kept[i] = state.to(torch.float64).cpu().numpy()
        states = np.stack([kept[i] for i in range(len(self.encoded))], axis=1)
        count = np.bincount(self.fact)
        means = np.add.reduceat(states, np.cumsum(count) - count, axis=1) / count[:, None]
        return states - means[:, self.fact]

    def shuffled(self, rng: np.random.Generator) -> Bool[np.ndarray, " candidate"]:
        """Which candidates are true after a random permutation of the labels within each fact."""
        order = np.lexsort((rng.random(len(self.fact)), self.fact))
        return self.true[order]

    def right(
        self, scores: Float[np.ndarray, " candidate"], facts: Bool[np.ndarray, " fact"]
    ) -> Bool[np.ndarray, " chosen"]:
        """Whether the answer of each of `facts` scores above all of its distractors."""
        wrong = np.full(len(self.forget), -np.inf)
        np.maximum.at(wrong, self.fact[~self.true], scores[~self.true])
        return (scores[self.true] > wrong)[facts]
