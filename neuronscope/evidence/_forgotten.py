"""Whether there is anything to bring back, and how much of it is much."""

from neuronscope.evidence._base import Case
from neuronscope.results.findings import Word

FEWEST = 4
"""Forgotten facts without which nothing is said: half of fewer is one, or chance."""

ENOUGH = 0.5
"""Share of the forgotten answers from which they count as brought back; reasoned: a majority."""

ALMOST_NONE = 0.125
"""Share of the forgotten answers up to which a random control brought nothing back; reasoned: what
two facts of sixteen on the verge of being answered would give, a quarter of `ENOUGH`."""


def undecided(case: Case) -> tuple[Word, str] | None:
    """The word for a case in which nothing can come back, with the reason; None for all others.

    Raises:
        ValueError: If no fact was to be forgotten.
    """
    if not case.forget.any():
        raise ValueError("Expected facts of split 'forget', got none.")
    forgotten = int(case.forgotten.sum())
    known = int((case.forget & case.at_first.answered).sum())
    # As the reading of a diagnosis has it: more than half of what was known still is.
    if 2 * (known - forgotten) > known:
        return "not forgotten", f"{known - forgotten} of {known} answers are still given."
    if forgotten < FEWEST:
        return (
            "cannot tell",
            f"Only {forgotten} facts were answered before and no longer are; {FEWEST} are needed.",
        )
    return None


def different_answers(case: Case) -> int:
    """How many answers the forgotten facts have: few can come back by a bias towards one."""
    facts = zip(case.forgotten, case.facts, strict=True)
    return len({fact.answer.strip() for gone, (_, fact) in facts if gone})
