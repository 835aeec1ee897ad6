"""Checks of hyper-parameters, shared by the objectives."""

import math

from neuronscope.facts.fact import Fact, FactSet, quoted


def check_not_negative(name: str, value: float) -> None:
    """Raise unless the value is finite and at least 0.

    Raises:
        ValueError: Naming the setting.
    """
    if not (value >= 0 and math.isfinite(value)):
        raise ValueError(f"Expected {name} of 0 or more, got {value}.")


def check_positive(name: str, value: float) -> None:
    """Raise unless the value is finite and above 0.

    Raises:
        ValueError: Naming the setting.
    """
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"Expected {name} of more than 0, got {value}.")


def check_refusal(refusal: str) -> None:
    """Raise if the refusal is empty.

    Raises:
        ValueError: If it is empty.
    """
    if not refusal.strip():
        raise ValueError("Expected a refusal that replaces the answers, got an empty text.")


def check_no_fact_answers(refusal: str, facts: FactSet) -> None:
    """Raise if the answer of a fact in the forget set is already the refusal.

    Raises:
        ValueError: Naming the first such fact.
    """

    def same(fact: Fact) -> bool:
        return fact.answer.strip() == refusal.strip()

    first = next((fact for fact in facts.forget if same(fact)), None)
    if first is not None:
        raise ValueError(
            f"Fact {quoted(first.id)}: its answer is already the refusal {quoted(refusal)}: "
            "leave the fact out, or choose a different refusal."
        )
