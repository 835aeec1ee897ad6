"""From what a user chose on the command line to facts, target, sites and attribution method."""

import random
from collections.abc import Callable
from typing import Any, cast, get_args

from neuronscope._discover import method_class
from neuronscope.attribution import Attribution, setting_fields
from neuronscope.facts.fact import SPLITS, Fact, FactSet
from neuronscope.models.sites import PAPER_SITES, SITES, check_sites
from neuronscope.models.targets import Target, TargetName
from neuronscope.tasks.options import MethodOptions

NULL_FACTS = 8
"""Enough for the smallest p-value against 16 facts to be 1 in 735,471; each costs what a fact does.
"""


def choose_facts(facts: FactSet, split: str, null_facts: int | None, seed: int) -> FactSet:
    """The facts under judgement, and as many drawn from those that were not to be forgotten.

    Args:
        split: The split under judgement; it is recorded as `forget`.
        null_facts: How many others; if not given, as many as there are under judgement, and at
            most `NULL_FACTS`.

    Raises:
        ValueError: If there are no facts under judgement, or the number of others is negative.
    """
    judged = facts_of(facts, split)
    if null_facts is not None and null_facts < 0:
        raise ValueError(f"Expected --null-facts of 0 or more, got {null_facts}.")
    count = min(len(judged), NULL_FACTS) if null_facts is None else null_facts
    # Retained facts first: a method was made to keep those. Utility facts only where no others are.
    for name in ("retain", "test", "utility"):
        others = facts.split(name)
        if name != split and others and count:
            drawn = random.Random(seed).sample(others, min(count, len(others)))
            return only(facts, {"forget": judged, name: tuple(drawn)})
    return only(facts, {"forget": judged})


def facts_of(facts: FactSet, split: str) -> tuple[Fact, ...]:
    """The facts of one split.

    Raises:
        ValueError: If there is no such split, or it is empty.
    """
    found = facts.split(split)
    if not found:
        counts = ", ".join(f"{len(facts.split(name))} {name}" for name in SPLITS)
        raise ValueError(f"{facts.source} has no facts of split {split!r}: it has {counts}.")
    return found


def chosen_sites(method: MethodOptions) -> tuple[str, ...]:
    """The sites that were asked for.

    Raises:
        ValueError: If there is no such site.
    """
    sites = PAPER_SITES if method.sites == ("paper",) else method.sites
    check_sites(sites, SITES, "neuronscope")
    return sites


def make_target(method: MethodOptions) -> Target:
    """The target that was asked for."""
    names = {name.replace("_", "-"): name for name in get_args(TargetName)}
    return Target(names[method.target], method.reduction)


def make_attribution(name: str, method: MethodOptions) -> Attribution:
    """The attribution method that was asked for, with its settings.

    Raises:
        ValueError: If it has no such setting, or a setting is out of range.
    """
    found = method_class("attribution", name.replace("-", "_"), Attribution)
    # What method_class returns is never abstract, which its type cannot say.
    return cast(Callable[..., Attribution], found)(**_given(found, method))


def _given(found: type[Attribution], method: MethodOptions) -> dict[str, Any]:
    """The settings that were given on the command line, if the method has them."""
    of_methods = ("steps", "tolerance", "max_steps", "path", "positions", "baseline", "reference")
    given = {
        name: vars(method)[name]
        for name in (*of_methods, "sample")
        if vars(method)[name] is not None
    }
    own = {item.name for item in setting_fields(found)}
    for name in given:
        if name not in own:
            raise ValueError(
                f"{found.__name__} has no --{name.replace('_', '-')}: "
                f"it has {', '.join('--' + n.replace('_', '-') for n in sorted(own)) or 'none'}."
            )
    return given


def check_method(attribution: str, method: MethodOptions, facts: FactSet) -> None:
    """Find out, before any model is loaded, whether the settings fit each other and the facts.

    Raises:
        ValueError: Saying which do not.
    """
    make_attribution(attribution, method).check(facts)
    if not method.memory > 0:
        raise ValueError(f"Expected --memory of more than 0 GiB, got {method.memory}.")
    bare = [fact.id for _, fact in facts if not fact.distractors]
    if method.target == "margin" and bare:
        raise ValueError(f"--target margin needs distractors, and fact {bare[0]!r} has none.")


def only(facts: FactSet, splits: dict[str, tuple[Fact, ...]]) -> FactSet:
    """Some of a set's facts, under the names of the splits given."""
    return FactSet(**splits, source=facts.source, notes=facts.notes)
