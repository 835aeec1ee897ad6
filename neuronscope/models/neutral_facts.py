"""Common knowledge that unlearning has no reason to change: days, opposites, colours, plurals.

The shipped facts (`data/neutral`) are used where a set contains only facts to be forgotten. They
are rarely the object of unlearning, and short enough for a small model to complete.
"""

from collections.abc import Iterator
from functools import cache

from neuronscope.facts.fact import Fact
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import Encoded, encode
from neuronscope.facts.shipped import shipped
from neuronscope.models.answers import measure
from neuronscope.models.hooked_model import HookedModel

IN_A_PASS = 8


def neutral_facts(model: HookedModel, form: str = "completion", most: int = 8) -> tuple[Fact, ...]:
    """The first neutral facts that a model answers by greedy decoding.

    Consecutive facts have different relations, so even a few of them are varied. Facts that the
    tokenizer cannot represent are skipped.

    Args:
        form: The prompt form.
        most: Maximum number of facts.
    """
    known: list[Fact] = []
    encoded = list(_encoded(model, form))
    for start in range(0, len(encoded), IN_A_PASS):
        if len(known) >= most:
            break
        group = encoded[start : start + IN_A_PASS]
        answered = measure(model, [tokens for _, tokens in group]).answered
        known += [fact for (fact, _), right in zip(group, answered, strict=True) if right]
    return tuple(known[:most])


@cache
def _shipped() -> tuple[Fact, ...]:
    return tuple(fact for _, fact in load_facts(shipped("neutral") / "facts.jsonl"))


def _encoded(model: HookedModel, form: str) -> Iterator[tuple[Fact, Encoded]]:
    """The facts that the model's tokenizer can represent, with their tokens."""
    for fact in _shipped():
        try:
            encoded = encode(fact, model.tokenizer, form)
        except ValueError:
            continue
        yield fact, encoded
