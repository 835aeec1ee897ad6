"""What a model makes of groups of facts, counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, Encoded
from neuronscope.metrics import answers_of
from neuronscope.models.hooked_model import HookedModel, answer_logits, frozen
from neuronscope.models.targets import Answers, Target, answered

LARGEST_BATCH = 32
LONGEST_BATCH = 1024
"""Facts, and tokens of their answers, in a pass at most; one fact may have more."""


@dataclass(frozen=True)
class Tally:
    """What a model makes of some facts."""

    correct: int
    """Facts that greedy decoding answers."""

    n: int

    score: float
    """Mean log-odds of the answers, nats per token."""

    facts: tuple[str, ...]
    """Their ids."""

    answered: tuple[str, ...]
    """Those of them that are answered."""


@dataclass(frozen=True, eq=False)
class Questions:
    """Facts by split, as tokens: to be asked again and again."""

    splits: Mapping[str, tuple[Encoded, ...]]

    ids: Mapping[str, tuple[str, ...]]
    """The facts' ids, likewise."""

    @staticmethod
    def of(model: HookedModel, splits: Mapping[str, Sequence[Fact]], form: str) -> "Questions":
        """Facts in the model's tokens; splits without facts are left out.

        Raises:
            ValueError: If one cannot be put into tokens.
        """
        asked = {split: facts for split, facts in splits.items() if facts}
        return Questions(
            {split: tuple(answers_of(model, facts, form)) for split, facts in asked.items()},
            {split: tuple(fact.id for fact in facts) for split, facts in asked.items()},
        )

    def __call__(self, model: HookedModel) -> dict[str, Tally]:
        """Ask a model, as it is now."""
        found = {}
        for split, encoded in self.splits.items():
            given, score = measure(model, encoded)
            ids = self.ids[split]
            answered_ids = tuple(i for i, known in zip(ids, given.tolist(), strict=True) if known)
            found[split] = Tally(
                len(answered_ids), len(encoded), float(score.mean()), ids, answered_ids
            )
        return found


def measure(
    model: HookedModel, encoded: Sequence[Encoded]
) -> tuple[Float[Tensor, " fact"], Float[Tensor, " fact"]]:
    """Whether each fact is answered, as 1.0 and 0.0; and its answer's mean log-odds in nats."""
    given = torch.zeros(len(encoded), dtype=torch.float64)
    score = torch.zeros(len(encoded), dtype=torch.float64)
    with frozen(model), torch.no_grad():
        for group in _groups(encoded):
            batch = Batch.of([encoded[i] for i in group], model.device)
            answers = Answers.of(batch)
            logits = answer_logits(model, batch.tokens[:, :-1], answers)
            given[group] = answered(logits, answers).cpu().double()
            score[group] = Target()(logits, answers).cpu().double()
    return given, score


def _groups(encoded: Sequence[Encoded]) -> Iterator[list[int]]:
    """Places of facts that are passed together: of like length, and not too many."""
    group: list[int] = []
    tokens = 0
    for i in sorted(range(len(encoded)), key=lambda i: (len(encoded[i].tokens), i)):
        more = len(encoded[i].tokens) - encoded[i].prompt_length
        if group and (len(group) == LARGEST_BATCH or tokens + more > LONGEST_BATCH):
            yield group
            group, tokens = [], 0
        group.append(i)
        tokens += more
    if group:
        yield group
