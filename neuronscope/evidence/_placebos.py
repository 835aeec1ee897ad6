"""Placebos: the true answers, assigned to prompts at random.

Within its relation, or among the options of its prompt in the multiple-choice form, every answer
could be the true one for a model that never learned the facts. A placebo draw is therefore
an assignment that could have been the true one: it permutes the true answers within their relation,
or chooses one of each prompt's options. As in any permutation test, a fact may keep its true answer
by chance; if draws had to differ from the facts everywhere, they would resemble each other more
than they resemble the facts, and the test would reject too often. The unlearned model gives none of
the forgotten answers, so answers that it gives are not assigned either. Options have to be equally
plausible: if the true one is the most likely answer even to a model that never learned the fact, it
is learned sooner.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from neuronscope.evidence._relearning import Learner
from neuronscope.facts.fact import Fact, content
from neuronscope.facts.prompts import Encoded, encode

TRIES = 1000
"""Random assignments per requested draw; after that many, no further different ones are
expected."""


@dataclass(frozen=True, eq=False)
class Placebos:
    """The answers that each fact may get."""

    answers: tuple[tuple[Encoded | None, ...], ...]
    """For each fact, its prompt with each candidate answer; None if it cannot get that answer."""

    own: Int[np.ndarray, " fact"]
    """The place of the true answer among the candidates."""

    allowed: Bool[np.ndarray, "fact answer"]
    """Candidates of the same relation that the unlearned model does not give, and the true
    answer."""

    wrong: Bool[np.ndarray, "fact answer"]
    """Which candidates differ from the true answer."""

    relations: tuple[Int[np.ndarray, " place"], ...] | None
    """The places of the facts of each relation, within which answers are permuted; None if each
    fact has options of its own, of which one is chosen."""

    def draws(self, count: int, seed: Sequence[int]) -> "list[Draw]":
        """Different random draws: `count` of them, or fewer if no more are found.

        All assignments of allowed answers are equally likely, and none is drawn twice. So the draws
        and the true answers are exchangeable if the model never knew the answers.
        """
        generator = np.random.default_rng(seed)
        true = self._draw(self.own)
        found = {true.answers: true}
        for _ in range(TRIES * count):
            if len(found) > count:
                break
            chosen = self._random(generator)
            if self.allowed[np.arange(len(chosen)), chosen].all():
                drawn = self._draw(chosen)
                found.setdefault(drawn.answers, drawn)
        return list(found.values())[1:]

    def _random(self, generator: np.random.Generator) -> Int[np.ndarray, " fact"]:
        """A candidate for each fact, allowed or not."""
        if self.relations is None:
            return generator.integers(self.allowed.shape[1], size=len(self.own))
        order = self.own.copy()
        for places in self.relations:
            order[places] = generator.permutation(places)
        return order

    def _draw(self, chosen: Int[np.ndarray, " fact"]) -> "Draw":
        encoded = [own[k] for own, k in zip(self.answers, chosen, strict=True)]
        possible = [one for one in encoded if one is not None]
        assert len(possible) == len(encoded), "only allowed answers are drawn"
        return Draw(possible, self.wrong[np.arange(len(chosen)), chosen])


@dataclass(frozen=True, eq=False)
class Draw:
    """One answer to each fact."""

    encoded: list[Encoded]
    """The prompts with the answers."""

    wrong: Bool[np.ndarray, " fact"]
    """Which answers are not the true ones."""

    @property
    def answers(self) -> tuple[tuple[int, ...], ...]:
        """The tokens of each prompt with its answer."""
        return tuple(one.tokens for one in self.encoded)


def comparable(facts: Sequence[Fact], form: str) -> list[Fact]:
    """The facts that have a possible placebo.

    It is another answer of their relation or, in the multiple-choice form, another option. Of facts
    with the same prompt, only the first is taken: true answers never contradict each other, but
    permuted ones might.
    """
    first: dict[str, Fact] = {}
    for fact in facts:
        first.setdefault(content(fact)[0], fact)
    kept = list(first.values())
    if form == "multiple_choice":
        return kept
    have = np.any(_different(kept) & _related(kept), axis=1)
    return [fact for fact, has in zip(kept, have, strict=True) if has]


def placebos(learner: Learner, facts: Sequence[Fact], form: str) -> Placebos:
    """The answers that may be assigned to facts, all of which must be `comparable`.

    Args:
        learner: A learner of the unlearned model.
        form: The prompt form.
    """
    if form == "multiple_choice":
        texts = [(fact.answer, *fact.distractors[:2]) for fact in facts]
        own = np.zeros(len(facts), dtype=int)
        wrong = np.tile([False, True, True], (len(facts), 1))
        related, relations = np.ones_like(wrong), None
    else:
        texts = [[other.answer for other in facts]] * len(facts)
        own = np.arange(len(facts))
        wrong, related = _different(facts), _related(facts)
        relations = tuple(np.flatnonzero(row) for row in np.unique(related, axis=0))
    answers = tuple(
        tuple(
            _encoded(fact, learner, form, text) if possible else None
            for text, possible in zip(candidates, row, strict=True)
        )
        for fact, candidates, row in zip(facts, texts, related, strict=True)
    )
    allowed = np.array([[one is not None for one in row] for row in answers])
    possible = [
        (fact, k, one)
        for fact, row in enumerate(answers)
        for k, one in enumerate(row)
        if one is not None and wrong[fact, k]
    ]
    given = learner.given([one for _, _, one in possible])
    for (fact, k, _), known in zip(possible, given, strict=True):
        allowed[fact, k] = not known
    return Placebos(answers, own, allowed, wrong, relations)


def _encoded(fact: Fact, learner: Learner, form: str, text: str) -> Encoded | None:
    """A prompt with an answer, unless its tokens do not separate the two."""
    try:
        return encode(fact, learner.tokenizer, form, text)
    except ValueError:
        return None


def groups(facts: Sequence[Fact], form: str, size: int) -> list[list[Fact]]:
    """Divide facts into groups of about `size`, keeping relations together.

    Fewer than one and a half times `size` form one group: there are few permutations of a small
    group. Each group is compared with its own placebos.
    """
    count = 1 if len(facts) < 1.5 * size else max(2, round(len(facts) / size))
    found: list[list[Fact]] = [[] for _ in range(count)]
    for part in _parts(facts, form, len(facts) / count):
        min(found, key=len).extend(part)
    return [group for group in found if group]


def sample(facts: Sequence[Fact], count: int, size: int, seed: int) -> list[Fact]:
    """At most `count` random facts: up to `size` of each relation first, then others.

    Relations are taken in random order, one after another. The chosen facts keep their order.
    """
    if len(facts) <= count:
        return list(facts)
    shuffled = np.random.default_rng(seed).permutation(len(facts))
    relations: dict[str, list[int]] = {}
    for k in shuffled:
        relations.setdefault(facts[k].relation or "", []).append(int(k))
    first = [k for own in relations.values() for k in own[:size]]
    rest = [k for own in relations.values() for k in own[size:]]
    return [facts[k] for k in sorted((first + rest)[:count])]


def _parts(facts: Sequence[Fact], form: str, size: float) -> list[list[Fact]]:
    """Facts by relation, the largest first; those of a large relation in several parts.

    Every part has different answers, where possible.
    """
    if form == "multiple_choice":
        return [[fact] for fact in facts]
    relations: dict[str, list[Fact]] = {}
    for fact in facts:
        relations.setdefault(fact.relation or "", []).append(fact)
    parts = []
    for own in sorted(relations.values(), key=len, reverse=True):
        pieces = max(1, round(len(own) / size))
        split = [own[piece::pieces] for piece in range(pieces)]
        if not all(_different(part).any() for part in split):
            own = sorted(own, key=lambda fact: fact.answer)
            split = [own[piece::pieces] for piece in range(pieces)]
        parts += split
    return parts


def echo(facts: Sequence[Fact]) -> float:
    """How much more often true answers share a word with their prompt than placebos do.

    The placebos of a prompt are the other answers of its relation. Only words of four or more
    characters count. If the difference is large, e.g. because answers repeat the name of the person
    in question, true answers are easier to learn than placebos even for a model that never knew
    them.
    """
    prompts, answers = (
        [set(re.findall(r"\w{4,}", text.casefold())) for text in texts]
        for texts in ([fact.prompt for fact in facts], [fact.answer for fact in facts])
    )
    shared = np.array([[bool(answer & prompt) for answer in answers] for prompt in prompts])
    placebo = _different(facts) & _related(facts)
    return float(shared.diagonal().mean() - shared[placebo].mean())


def _different(facts: Sequence[Fact]) -> Bool[np.ndarray, "fact fact"]:
    answers = np.array([" ".join(fact.answer.split()) for fact in facts])
    return answers[:, None] != answers[None, :]


def _related(facts: Sequence[Fact]) -> Bool[np.ndarray, "fact fact"]:
    """Whether two facts have the same relation; facts without one count as sharing one."""
    relations = np.array([fact.relation or "" for fact in facts])
    return relations[:, None] == relations[None, :]
