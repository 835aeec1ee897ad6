"""Placebos: wrong answers to the facts' own prompts that are as plausible as the true ones.

For a model that never learned which answer belongs to which prompt, placebos and true answers are
interchangeable, unless a prompt suggests its answer. Placebos are therefore the true answers
permuted within their relation, so that neither the kind of an answer nor its frequency tells them
apart; in the multiple-choice form they are the wrong options of the same prompt. An answer that the
unlearned model already gives is not used, because none of the forgotten answers is given.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from scipy.optimize import linear_sum_assignment

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Encoded, encode
from neuronscope.models.answers import answers_of, measure, per_token
from neuronscope.models.hooked_model import HookedModel

FORBIDDEN = 1e6
"""Cost of an answer that a fact must not get; larger than any sum of the random costs below 1."""


TRIES = 20
"""Draws per wanted placebo after which no more different ones are expected."""


@dataclass(frozen=True, eq=False)
class Placebos:
    """The wrong answers that some facts may get."""

    answers: tuple[tuple[Encoded, ...], ...]
    """For each fact, its prompt with each candidate answer."""

    allowed: Bool[np.ndarray, "fact answer"]
    """Which candidates are wrong, of the same relation, and not given by the unlearned model."""

    permuted: bool
    """Whether each candidate is used exactly once per draw."""

    def draw(self, generator: np.random.Generator) -> "Draw":
        """A random answer for each fact: as few as possible are not `allowed`."""
        costs = generator.random(self.allowed.shape) + FORBIDDEN * ~self.allowed
        chosen = linear_sum_assignment(costs)[1] if self.permuted else costs.argmin(axis=1)
        encoded = [own[k] for own, k in zip(self.answers, chosen, strict=True)]
        return Draw(encoded, self.allowed[np.arange(len(chosen)), chosen])


@dataclass(frozen=True, eq=False)
class Draw:
    """One answer to each fact."""

    encoded: list[Encoded]
    """The prompts with the answers."""

    wrong: Bool[np.ndarray, " fact"]
    """Which answers are placebos. If many facts share an answer, some of them must keep it."""


def distinct_draws(found: Placebos, count: int, seed: int) -> list[Draw]:
    """Different random draws: `count` of them, or fewer if no more are found."""
    generator = np.random.default_rng(seed)
    draws: dict[tuple[tuple[int, ...], ...], Draw] = {}
    for _ in range(TRIES * count):
        drawn = found.draw(generator)
        draws.setdefault(tuple(one.tokens for one in drawn.encoded), drawn)
        if len(draws) == count:
            break
    return list(draws.values())


def comparable(facts: Sequence[Fact], form: str) -> Bool[np.ndarray, " fact"]:
    """Which facts have a possible placebo: another answer in their relation, or wrong options."""
    if form == "multiple_choice":
        return np.ones(len(facts), dtype=bool)
    return np.any(_different(facts) & _related(facts), axis=1)


def placebos(model: HookedModel, facts: Sequence[Fact], form: str) -> Placebos:
    """The possible wrong answers to facts that are all `comparable`.

    Args:
        model: The unlearned model.
        form: The prompt form.

    Raises:
        ValueError: If fewer than half of the facts can get wrong answers at once.
    """
    tokenizer = model.tokenizer
    if form == "multiple_choice":
        texts = [fact.distractors[:2] for fact in facts]
        allowed = np.ones((len(facts), 2), dtype=bool)
    else:
        texts = [[other.answer for other in facts]] * len(facts)
        allowed = _different(facts) & _related(facts)
    answers = tuple(
        tuple(encode(fact, tokenizer, form, text) for text in own)
        for fact, own in zip(facts, texts, strict=True)
    )
    allowed = allowed & ~_given(model, facts, answers, form)
    found = Placebos(answers, allowed, permuted=form != "multiple_choice")
    _check(found, facts)
    return found


def groups(facts: Sequence[Fact], form: str, size: int) -> list[list[Fact]]:
    """Divide facts into groups of about `size`, keeping relations together.

    Fewer than `size` facts form one group; `size` or more form at least two. Each group is compared
    with its own placebos.
    """
    count = 1 if len(facts) < size else max(2, round(len(facts) / size))
    found: list[list[Fact]] = [[] for _ in range(count)]
    for part in _parts(facts, form, len(facts) / count):
        min(found, key=len).extend(part)
    return [group for group in found if group]


def _parts(facts: Sequence[Fact], form: str, size: float) -> list[list[Fact]]:
    """Facts by relation, the largest first; those of a large relation in several parts."""
    if form == "multiple_choice":
        return [[fact] for fact in facts]
    relations: dict[str, list[Fact]] = {}
    for fact in facts:
        relations.setdefault(fact.relation or "", []).append(fact)
    parts = []
    for own in sorted(relations.values(), key=len, reverse=True):
        pieces = max(1, round(len(own) / size))
        parts += [own[piece::pieces] for piece in range(pieces)]
    return parts


def echo(facts: Sequence[Fact]) -> float:
    """How much more often true answers share a word with their prompt than its placebos do.

    Placebos of a prompt are the different answers of its relation. Only words of four or more
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


def _check(found: Placebos, facts: Sequence[Fact]) -> None:
    wrong = int(found.draw(np.random.default_rng(0)).wrong.sum())
    if 2 * wrong < len(facts):
        raise ValueError(
            f"Only {wrong} of {len(facts)} facts can get a wrong answer of their relation that the "
            "unlearned model does not give, because too many share an answer. Use facts with more "
            "varied answers, or the multiple_choice form."
        )


def _different(facts: Sequence[Fact]) -> Bool[np.ndarray, "fact fact"]:
    answers = np.array([" ".join(fact.answer.split()) for fact in facts])
    return answers[:, None] != answers[None, :]


def _related(facts: Sequence[Fact]) -> Bool[np.ndarray, "fact fact"]:
    """Whether two facts are of the same relation; facts without a relation are of the same."""
    relations = np.array([fact.relation or "" for fact in facts])
    return relations[:, None] == relations[None, :]


def _given(
    model: HookedModel,
    facts: Sequence[Fact],
    answers: Sequence[Sequence[Encoded]],
    form: str,
) -> Bool[np.ndarray, "fact answer"]:
    """Which candidates the model gives already."""
    predicted = per_token(
        model, answers_of(model, facts, form), lambda logits, _: logits.argmax(dim=-1)
    )
    first = np.array([tokens[0] for tokens in predicted])
    given = np.array([[one.tokens[one.prompt_length] for one in own] for own in answers])
    given = given == first[:, None]
    # Only candidates that begin like the model's own answer need to be measured.
    begun = [answers[fact][k] for fact, k in np.argwhere(given)]
    if begun:
        given[given] = measure(model, begun).answered
    return given
