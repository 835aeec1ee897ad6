"""Pairs of models of which it is known, by how they were made, what became of the knowledge.

| kind | the model after | the facts to be forgotten |
|---|---|---|
| `hidden` | the model before, with inhibitors planted | are all still there |
| `erased` | grew up without them | never were there |
| `mixed` | grew up without some, with inhibitors against the others | a known share is there |
| `untouched` | the model before, a little changed | are still answered |
| `collapsed` | the model before, damaged | went with everything else |

Each is tried as it is made, and refused if it does not do what it says.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Literal

import numpy as np
import torch

from neuronscope.facts.fact import FactSet
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.organisms.planting import FEWEST_KNOWN, MOST_LEFT, Planted, plant
from neuronscope.organisms.training import (
    INSTEAD,
    Lesson,
    OrganismTraining,
    copied,
    learn,
    one_thread,
)

Kind = Literal["hidden", "erased", "mixed", "untouched", "collapsed"]
CHANGES = ("practice", "noise")
DAMAGES = ("ascent", "noise")

STRENGTHS = (1.5, 1.75, 2.0, 2.5, 3.0)
"""Of inhibitors in MLPs: log-odds of 3.9 nats fall to -3.4, -4.7, -5.9, -8.4, -10.8."""

SPREADS = (1, 10, 100)
IN_ATTENTION = ((1, 1.5), (10, 1.5), (10, 2.0))
"""Spreads and strengths of inhibitors in attention. No activation function silences these where
other facts are asked: more strength costs other answers."""

SHARES = (0.25, 0.5, 0.75)

PRACTICE_STEPS, PRACTICE_RATE = 20, 1e-4
"""On facts that stay."""

LITTLE_NOISE = 0.02
"""As a share of each parameter's root mean square."""

ASCENT_STEPS, ASCENT_RATE = 200, 1e-3
NOISE_DOUBLINGS, NOISE_HALVINGS = 10, 6


@dataclass(frozen=True, eq=False)
class Organism:
    """Two models, and what became of the knowledge between them.

    Raises:
        ValueError: If the models do not answer, or still answer, what the kind says.
    """

    kind: Kind
    before: HookedModel
    """Knows all the facts. Shared with other organisms of its training: not to be changed."""
    after: HookedModel

    facts: FactSet
    """`forget` are the facts under judgement; all others were to stay."""

    description: str
    """How it was made."""

    planted: Planted
    """Inhibitors, by site; empty where there are none."""

    hidden_facts: frozenset[str] = frozenset()
    """Ids of facts under judgement that the model after has, behind inhibitors."""

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
                    f"{what} facts are answered {state}; take another seed."
                )

    @property
    def hidden_share(self) -> float:
        """Share of the forgotten facts that are only hidden.

        NaN where none was forgotten, or where all went with everything else.
        """
        if self.kind in ("untouched", "collapsed"):
            return math.nan
        return len(self.hidden_facts) / len(self.facts.forget)


def hidden(
    training: OrganismTraining, strength: float, spread: int, where: str = "mlp", seed: int = 0
) -> Organism:
    """Inhibitors in the model that knows; everything else of it stays as it is.

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
    """The model that knows, and one that never knew.

    Args:
        instead: What that one was taught in the facts' place.

    Raises:
        ValueError: If it answers more of them by luck than an organism may.
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
    """A model that never knew some of the facts, with inhibitors against the others.

    Args:
        share: Of the facts, that are only hidden.

    Raises:
        ValueError: If the share leaves no fact hidden or none unknown, or as `plant`.
    """
    facts = training.world.facts
    count = round(share * len(facts.forget))
    if not 0 < count < len(facts.forget):
        raise ValueError(
            f"Expected a share between 0 and 1 that hides some of {len(facts.forget)} facts and "
            f"leaves others unknown, got {share}."
        )
    drawn = np.random.default_rng(seed).permutation(len(facts.forget))[:count].tolist()
    kept = replace(facts, forget=tuple(facts.forget[i] for i in sorted(drawn)))
    with one_thread():
        pupil = training.never_knew(_ids(facts) - _ids(kept))
        after, planted = plant(pupil, kept, strength, spread, where, seed)
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
    """The model that knows, and the same after a little practice on other facts, or some noise.

    Raises:
        ValueError: If there is no such change.
    """
    _check_choice(change, CHANGES)
    facts, before = training.world.facts, training.knowing
    with one_thread():
        after = copied(before, f"{before.source}, {change}")
        if change == "practice":
            learn(after, Lesson.of(after, facts.retain), PRACTICE_STEPS, PRACTICE_RATE)
        else:
            _shake(before, after, LITTLE_NOISE, seed)
        return Organism("untouched", before, after, facts, after.source, {})


def collapsed(training: OrganismTraining, damage: str = "ascent", seed: int = 0) -> Organism:
    """The model that knows, and the same damaged until little is answered, whatever it is about.

    Args:
        damage: Gradient ascent on the facts to be forgotten without an end, or noise.

    Raises:
        ValueError: If there is no such damage, or it does not suffice.
    """
    _check_choice(damage, DAMAGES)
    facts, before = training.world.facts, training.knowing
    with one_thread():
        after = copied(before, f"{before.source}, {damage}")
        if damage == "ascent":
            _ascend(training, after)
        else:
            _drown(training, after, seed)
        return Organism("collapsed", before, after, facts, after.source, {})


def organism_grid(
    seeds: Sequence[int],
    gated: Sequence[bool] = (True, False),
    strengths: Sequence[float] = STRENGTHS,
    spreads: Sequence[int] = SPREADS,
) -> Iterator[Callable[[], Organism]]:
    """Organisms of every kind from the nurseries of some seeds, the standard set, to be made.

    Of each training: hidden in MLPs with every strength and spread, and three in attention; three
    erased; mixed in three shares; two untouched; two collapsed. Not every seed has all of them: the
    call that would make one that does not do what its kind says raises a ValueError.
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


def _exam(training: OrganismTraining) -> Callable[[HookedModel], bool]:
    """Whether a model has collapsed."""
    facts = training.world.facts
    parts = [
        answers_of(training.knowing, part) for part in (facts.forget, facts.retain + facts.test)
    ]
    return lambda model: all(measure(model, part).answered.mean() <= MOST_LEFT for part in parts)


def _shake(before: HookedModel, after: HookedModel, amount: float, seed: int) -> None:
    """Make a model the one before plus noise, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in after.hf.named_parameters():
            old = before.hf.get_parameter(name)
            noise = torch.randn(old.shape, generator=generator)
            parameter.copy_(old + amount * old.square().mean().sqrt() * noise)


def _drown(training: OrganismTraining, after: HookedModel, seed: int) -> None:
    """Make a model the knowing one plus about the least noise that collapses it, in place."""
    before, is_collapsed = training.knowing, _exam(training)
    low, high = 0.0, LITTLE_NOISE
    for _ in range(NOISE_DOUBLINGS):
        _shake(before, after, high, seed)
        if is_collapsed(after):
            break
        low, high = high, 2 * high
    for _ in range(NOISE_HALVINGS):
        middle = (low + high) / 2
        _shake(before, after, middle, seed)
        low, high = (low, middle) if is_collapsed(after) else (middle, high)
    _shake(before, after, high, seed)


def _ascend(training: OrganismTraining, model: HookedModel) -> None:
    """Lead a model away from the facts to be forgotten until it has collapsed, in place."""
    lesson, is_collapsed = Lesson.of(model, training.world.facts.forget), _exam(training)
    optimizer = torch.optim.AdamW(model.hf.parameters(), ASCENT_RATE, weight_decay=0.0)
    for _ in range(ASCENT_STEPS):
        if is_collapsed(model):
            break
        optimizer.zero_grad()
        (-lesson.loss(model)).backward()
        optimizer.step()
    optimizer.zero_grad()
