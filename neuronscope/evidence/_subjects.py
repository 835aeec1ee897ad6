"""The same question about other subjects: what a model is asked whose states shall not know."""

from collections.abc import Iterator
from dataclasses import replace

from neuronscope.evidence._base import Case
from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Encoded, encode


def other_subjects(case: Case, place: int, most: int) -> tuple[Encoded, ...]:
    """A fact's prompt with other facts' subjects, and its own answer behind it.

    The other facts have the same relation and other answers. Subjects of as many tokens come first:
    with them, positions are what they were.

    Args:
        place: The fact's place in the case.
        most: How many at most.
    """
    own = case.labelled[place][1]
    alike: list[Encoded] = []
    unlike: list[Encoded] = []
    for fact in _with_others(case, place):
        asked = encode(fact, case.after.tokenizer, case.form)
        # A subject at the prompt's end may share a token with the answer.
        if asked.tokens[asked.prompt_length :] == own.tokens[own.prompt_length :]:
            (alike if len(asked.tokens) == len(own.tokens) else unlike).append(asked)
        if len(alike) == most:
            break
    return tuple(alike + unlike)[:most]


def _with_others(case: Case, place: int) -> Iterator[Fact]:
    """The fact about each other subject, from the next fact on: not all get the same ones."""
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
