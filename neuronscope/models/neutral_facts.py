"""Common knowledge that unlearning has no reason to touch: days, opposites, colours, plurals.

The shipped facts (`data/neutral`) stand in where a set holds nothing but facts to be forgotten.
They are of no kind that is usually unlearned, and short enough for a small model to complete.
"""

from collections.abc import Iterator
from functools import cache

import torch

from neuronscope.facts.fact import Fact
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.facts.shipped import shipped
from neuronscope.models.hooked_model import HookedModel, answer_logits, frozen
from neuronscope.models.targets import Answers, answered

IN_A_PASS = 8


def neutral_facts(model: HookedModel, form: str = "completion", most: int = 8) -> tuple[Fact, ...]:
    """The first neutral facts that a model answers by greedy decoding.

    Neighbours are of different relations, so that a few of them are varied. Facts that its
    tokenizer cannot write are passed over.

    Args:
        form: How a fact is put to the model.
        most: How many are returned at most.
    """
    found: list[Fact] = []
    encoded = list(_encoded(model, form))
    with frozen(model), torch.no_grad():
        for start in range(0, len(encoded), IN_A_PASS):
            if len(found) >= most:
                break
            here = encoded[start : start + IN_A_PASS]
            batch = Batch.of([tokens for _, tokens in here], model.device)
            answers = Answers.of(batch)
            logits = answer_logits(model, batch.tokens[:, :-1], answers)
            given = answered(logits, answers).tolist()
            found += [fact for (fact, _), right in zip(here, given, strict=True) if right]
    return tuple(found[:most])


@cache
def _shipped() -> tuple[Fact, ...]:
    return tuple(fact for _, fact in load_facts(shipped("neutral") / "facts.jsonl"))


def _encoded(model: HookedModel, form: str) -> Iterator[tuple[Fact, Encoded]]:
    """The facts that can be put into the model's tokens, as tokens."""
    for fact in _shipped():
        try:
            encoded = encode(fact, model.tokenizer, form)
        except ValueError:
            continue
        yield fact, encoded
