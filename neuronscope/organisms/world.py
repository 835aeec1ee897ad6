"""An invented world whose facts a small model learns in seconds: facts and a tokenizer, no model.

There are 32 people, each with a first name and a family name, so no single token identifies a
person. Organisms forget the homes of half of them. Each town is the home of one of these people and
of one other person, so a model that never learned the facts still knows every town.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from neuronscope.facts.fact import Fact, FactSet

SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")

FIRST_NAMES = ("Adro", "Birla", "Corvo", "Edda", "Folke", "Gitta", "Hanno", "Ilvy")
FAMILIES = ("Vossel", "Arkwen", "Brindle", "Dunmere")

TOWNS = (
    "Tarnwick", "Elmsford", "Brackle", "Dovemoor", "Hexley", "Ravenby", "Osmund", "Quillon",
    "Marlth", "Sedgeby", "Thornley", "Wexcombe", "Sallow", "Anwick", "Ferrow", "Lunt",
)  # fmt: skip
JOBS = ("baker", "weaver", "pilot", "surgeon", "potter", "lawyer", "farmer", "tailor")
PETS = ("cat", "dog", "parrot", "rabbit", "hamster", "tortoise", "goat", "pony")

PHRASINGS = {
    "town": ("{} lives in", "The home of {} is"),
    "job": ("{} works as", "The job of {} is"),
    "pet": ("{} keeps a", "The pet of {} is"),
}
"""The prompt of a fact, and its paraphrase, by relation."""

DISTRACTORS = 3
FORGOTTEN = len(TOWNS)
"""Number of facts in the forget set."""


@dataclass(frozen=True)
class World:
    """Facts, and a tokenizer for them."""

    facts: FactSet
    """The forget set consists of homes. `retain` and `test` each consist of homes of the other
    people, jobs of the people in the forget set, and pets of the other people, in equal parts.
    """

    tokenizer: PreTrainedTokenizerFast
    """One token per word; like GPT-2's, it adds no `<bos>`."""


def invent(seed: int) -> World:
    """A world of 64 facts, 16 of them in the forget set; the seed determines who lives where.

    No two people with the same first name live in the same town, so a forgotten home cannot be
    guessed from the name.
    """
    rng = random.Random(seed)
    families = rng.sample(FAMILIES, len(FAMILIES))
    persons = [f"{name} {family}" for family in families for name in FIRST_NAMES]
    forgotten, others = persons[:FORGOTTEN], persons[FORGOTTEN:]
    groups = [
        _facts(rng, "town", TOWNS, others),
        _facts(rng, "job", JOBS, forgotten),
        _facts(rng, "pet", PETS, others),
    ]
    known = {(_first_name(fact), fact.answer) for fact in groups[0]}
    forget = _facts(rng, "town", TOWNS, forgotten)
    while any((_first_name(fact), fact.answer) in known for fact in forget):
        forget = _facts(rng, "town", TOWNS, forgotten)
    facts = FactSet(
        forget=forget,
        retain=tuple(fact for group in groups for fact in group[::2]),
        test=tuple(fact for group in groups for fact in group[1::2]),
        source=f"invented world {seed}",
    )
    return World(facts, _tokenizer(wordings(fact for _, fact in facts)))


def wordings(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """The facts, with each paraphrase as a separate fact."""
    return tuple(
        replace(fact, id=f"{fact.id} {number}", prompt=prompt, paraphrases=())
        for fact in facts
        for number, prompt in enumerate((fact.prompt, *fact.paraphrases))
    )


def _first_name(fact: Fact) -> str:
    return str(fact.subject).split()[0]


def _facts(
    rng: random.Random, relation: str, answers: tuple[str, ...], persons: list[str]
) -> tuple[Fact, ...]:
    """One fact per person; all answers are equally frequent."""
    assigned = list(answers) * (len(persons) // len(answers))
    rng.shuffle(assigned)
    first, *others = PHRASINGS[relation]
    return tuple(
        Fact(
            id=f"{relation} of {person}",
            prompt=first.format(person),
            answer=answer,
            distractors=tuple(rng.sample([a for a in answers if a != answer], DISTRACTORS)),
            paraphrases=tuple(phrasing.format(person) for phrasing in others),
            subject=person,
            relation=relation,
        )
        for person, answer in zip(persons, assigned, strict=True)
    )


def _tokenizer(facts: tuple[Fact, ...]) -> PreTrainedTokenizerFast:
    words = {word for fact in facts for word in (*fact.prompt.split(), *fact.answer.split())}
    vocabulary = {word: index for index, word in enumerate((*SPECIAL_TOKENS, *sorted(words)))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
    )
