"""What a hyper-parameter may be, whichever objective it belongs to."""

import math

from neuronscope.facts.fact import Fact, FactSet, quoted


def check_not_negative(name: str, value: float) -> None:
    """Refuse what is no finite number of 0 or more.

    Raises:
        ValueError: Naming the setting.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"Expected {name} of 0 or more, got {value}.")


def check_positive(name: str, value: float) -> None:
    """Refuse what is no finite number above 0.

    Raises:
        ValueError: Naming the setting.
    """
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"Expected {name} of more than 0, got {value}.")


def check_refusal(refusal: str) -> None:
    """Refuse an empty refusal.

    Raises:
        ValueError: If it is empty.
    """
    if not refusal.strip():
        raise ValueError("Expected a refusal to teach in the answers' place, got an empty text.")


def check_no_fact_answers(refusal: str, facts: FactSet) -> None:
    """Refuse facts whose answer is the refusal already.

    Raises:
        ValueError: Naming the first.
    """

    def same(fact: Fact) -> bool:
        return fact.answer.strip() == refusal.strip()

    found = next((fact for fact in facts.forget if same(fact)), None)
    if found is not None:
        raise ValueError(
            f"Fact {quoted(found.id)}: its answer is the refusal {quoted(refusal)} that is to "
            "replace it: leave the fact out, or choose another refusal."
        )
