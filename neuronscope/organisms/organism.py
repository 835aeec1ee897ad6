"""Pairs of models whose facts are known by construction to be hidden or erased.

| kind | unlearned model | facts of the forget set |
|---|---|---|
| `hidden` | the original model with planted inhibitors | all present |
| `erased` | trained without these facts | never learned |
| `mixed` | trained without some of them, inhibitors for the rest | a known share is present |
| `untouched` | the original model with a small change | still answered |
| `collapsed` | the original model, damaged | lost together with everything else |

Each organism is evaluated when it is made, and rejected if its models do not behave as its kind
requires.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Literal

import numpy as np

from neuronscope.facts.fact import FactSet
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.organisms.collapsing import (
    LITTLE_NOISE,
    add_noise,
    collapse_by_ascent,
    collapse_by_noise,
)
from neuronscope.organisms.planting import FEWEST_KNOWN, MOST_LEFT, Planted, plant
from neuronscope.organisms.training import (
    INSTEAD,
    OrganismTraining,
    TrainingSet,
    copied,
    one_thread,
    train,
)

Kind = Literal["hidden", "erased", "mixed", "untouched", "collapsed"]
CHANGES = ("practice", "noise")
DAMAGES = ("ascent", "noise")

STRENGTHS = (1.5, 1.75, 2.0, 2.5, 3.0)
"""Strengths of MLP inhibitors: log-odds of 3.9 nats fall to -3.4, -4.7, -5.9, -8.4 and -10.8."""

SPREADS = (1, 10, 100)
IN_ATTENTION = ((1, 1.5), (10, 1.5), (10, 2.0))
"""Spreads and strengths of attention inhibitors. No activation function sets them to zero for other
facts, so a higher strength would suppress other answers."""

SHARES = (0.25, 0.5, 0.75)

PRACTICE_STEPS, PRACTICE_RATE = 20, 1e-4
"""Steps and learning rate of training on the retain set."""


@dataclass(frozen=True, eq=False)
class Organism:
    """Two models, and which facts the second one hides or lacks.

    Raises:
        ValueError: If the models' answers do not agree with the kind.
    """

    kind: Kind
    before: HookedModel
    """The model that knows all facts. Other organisms of the same training share it, so it must not
    be modified."""
    after: HookedModel

    facts: FactSet
    """The facts; those outside split `forget` must remain known."""

    description: str
    """How the organism was made."""

    planted: Planted
    """The inhibitors by site; empty if there are none."""

    hidden_facts: frozenset[str] = frozenset()
    """Ids of the facts of the forget set that inhibitors hide in `after`."""

    def __post_init__(self) -> None:
        others = self.facts.retain + self.facts.test + self.facts.utility
        shares = {
            (state, what): float(measure(model, answers_of(model, part)).answered.mean())
            for state, model in (("before", self.before), ("after", self.after))
            for what, part in (("forget", self.facts.forget), ("others", others))
        }
        lost = {"untouched": (), "collapsed": ("forget", "others")}.get(self.kind, ("forget",))
        for (state, what), share in shares.items():
            gone = state == "after" and what in lost
            if share > MOST_LEFT if gone else share < FEWEST_KNOWN:
                raise ValueError(
                    f"This organism is not {self.kind} ({self.description}): {share:.0%} of "
                    f"{what} facts are answered {state} unlearning; use another seed."
                )

    @property
    def hidden_share(self) -> float:
        """Share of the forget set that is hidden; NaN for untouched and collapsed organisms."""
        if self.kind in ("untouched", "collapsed"):
            return math.nan
        return len(self.hidden_facts) / len(self.facts.forget)


def hidden(
    training: OrganismTraining, strength: float, spread: int, where: str = "mlp", seed: int = 0
) -> Organism:
    """The model that knows all facts, and a copy with planted inhibitors.

    Raises:
        ValueError: As `neuronscope.organisms.planting.plant`.
    """
    with one_thread():
        facts = training.world.facts
        after, planted = plant(training.knowing, facts, strength, spread, where, seed)
        return Organism(
            kind="hidden",
            before=training.knowing,
            after=after,
            facts=facts,
            description=f"{after.source} ({where}, spread {spread}, strength {strength:g})",
            planted=planted,
            hidden_facts=_ids(facts),
        )


def erased(training: OrganismTraining, instead: str = "nothing") -> Organism:
    """The model that knows all facts, and one that never learned those of the forget set.

    Args:
        instead: What the second model is trained on in their place, one of `INSTEAD`.

    Raises:
        ValueError: If it answers too many of them by chance.
    """
    with one_thread():
        facts = training.world.facts
        after = training.never_knew(_ids(facts), instead)
        return Organism("erased", training.knowing, after, facts, after.source, {})


def mixed(
    training: OrganismTraining,
    share: float,
    strength: float = 2.0,
    spread: int = 10,
    where: str = "mlp",
    seed: int = 0,
) -> Organism:
    """The model that knows all facts, and one that never learned some and hides the others.

    Args:
        share: Share of the forget set that is hidden.

    Raises:
        ValueError: If the share leaves no fact to hide or none to leave out, or as `plant`.
    """
    facts = training.world.facts
    count = round(share * len(facts.forget))
    if not 0 < count < len(facts.forget):
        raise ValueError(
            f"Expected a share that hides some but not all of {len(facts.forget)} facts, "
            f"got {share}."
        )
    drawn = np.random.default_rng(seed).permutation(len(facts.forget))[:count].tolist()
    kept = replace(facts, forget=tuple(facts.forget[i] for i in sorted(drawn)))
    with one_thread():
        incomplete = training.never_knew(_ids(facts) - _ids(kept))
        after, planted = plant(incomplete, kept, strength, spread, where, seed)
        return Organism(
            kind="mixed",
            before=training.knowing,
            after=after,
            facts=facts,
            description=f"{after.source} ({where}, spread {spread}, strength {strength:g})",
            planted=planted,
            hidden_facts=_ids(kept),
        )


def untouched(training: OrganismTraining, change: str = "practice", seed: int = 0) -> Organism:
    """The model that knows all facts, and a copy after a few training steps or with some noise.

    Args:
        change: `practice`, a few steps on the retain set, or `noise`.

    Raises:
        ValueError: If the change is unknown.
    """
    _check_choice(change, CHANGES)
    facts, before = training.world.facts, training.knowing
    with one_thread():
        after = copied(before, f"{before.source}, {change}")
        if change == "practice":
            train(after, TrainingSet.of(after, facts.retain), PRACTICE_STEPS, PRACTICE_RATE)
        else:
            add_noise(before, after, LITTLE_NOISE, seed)
        return Organism("untouched", before, after, facts, after.source, {})


def collapsed(training: OrganismTraining, damage: str = "ascent", seed: int = 0) -> Organism:
    """The model that knows all facts, and a copy damaged until it answers few facts of any split.

    Args:
        damage: `ascent`, gradient ascent on the forget set until collapse, or `noise`.

    Raises:
        ValueError: If the damage is unknown, or the copy does not collapse.
    """
    _check_choice(damage, DAMAGES)
    facts, before = training.world.facts, training.knowing
    with one_thread():
        after = copied(before, f"{before.source}, {damage}")
        if damage == "ascent":
            collapse_by_ascent(training, after)
        else:
            collapse_by_noise(training, after, seed)
        return Organism("collapsed", before, after, facts, after.source, {})


def organism_grid(
    seeds: Sequence[int],
    gated: Sequence[bool] = (True, False),
    strengths: Sequence[float] = STRENGTHS,
    spreads: Sequence[int] = SPREADS,
) -> Iterator[Callable[[], Organism]]:
    """The standard set of organisms of every kind for some seeds, as functions that make them.

    For each training there are hidden organisms with every strength and spread of MLP inhibitors
    and three with attention inhibitors, three erased ones, mixed ones with three shares, two
    untouched and two collapsed ones. For some seeds, some of them cannot be made: their function
    then raises a ValueError.
    """
    for seed, kind in product(seeds, gated):
        training = OrganismTraining(seed, kind)
        for spread, strength in product(spreads, strengths):
            yield partial(hidden, training, strength, spread, seed=seed)
        for spread, strength in IN_ATTENTION:
            yield partial(hidden, training, strength, spread, "attention", seed)
        for instead in INSTEAD:
            yield partial(erased, training, instead)
        for share in SHARES:
            yield partial(mixed, training, share, seed=seed)
        for change in CHANGES:
            yield partial(untouched, training, change, seed)
        for damage in DAMAGES:
            yield partial(collapsed, training, damage, seed)


def _ids(facts: FactSet) -> frozenset[str]:
    return frozenset(fact.id for fact in facts.forget)


def _check_choice(given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ValueError(f"Expected {' or '.join(choices)}, got {given!r}.")
