"""Prompts about other subjects, whose states do not encode a fact's answer."""

from collections.abc import Iterator
from dataclasses import replace

from neuronscope.evidence._base import Case
from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Encoded, encode


def other_subjects(case: Case, place: int, most: int) -> tuple[Encoded, ...]:
    """A fact's prompt and answer, with its subject replaced by those of other facts.

    The other facts have the same relation and different answers. Subjects with the same number of
    tokens come first, because they leave positions unchanged.

    Args:
        place: The fact's index in the case.
        most: Maximum number of prompts.
    """
    own = case.labelled[place][1]
    alike: list[Encoded] = []
    unlike: list[Encoded] = []
    for fact in _with_others(case, place):
        other = encode(fact, case.after.tokenizer, case.form)
        # A subject at the prompt's end may share a token with the answer.
        if other.tokens[other.prompt_length :] == own.tokens[own.prompt_length :]:
            (alike if len(other.tokens) == len(own.tokens) else unlike).append(other)
        if len(alike) == most:
            break
    return tuple(alike + unlike)[:most]


def _with_others(case: Case, place: int) -> Iterator[Fact]:
    """The fact with each other subject; the order depends on the fact, so that subjects vary."""
    facts = [fact for _, fact in case.facts]
    fact = facts[place]
    if fact.subject is None or fact.subject not in fact.prompt:
        return
    seen = {fact.subject}
    for other in facts[place + 1 :] + facts[:place]:
        alike = other.relation == fact.relation and other.answer != fact.answer
        if alike and other.subject is not None and other.subject not in seen:
            seen.add(other.subject)
            yield replace(fact, prompt=fact.prompt.replace(fact.subject, other.subject))
