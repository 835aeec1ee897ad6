"""The invented world of the demo: 64 persons in 16 families, five relations, and its splits.

Text alone: no model. Every fact has one answer, and every answer of a relation is about equally
common, so that nothing but the person tells it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


FIRST_NAMES = _listed(
    "Adro, Amsel, Anselka, Bettin, Birla, Bodo, Brann, Cheske, Cleo, Corvo, Cosmi, Dorrel, "
    "Drusk, Dunya, Edda, Elsbet, Eskil, Evvie, Farro, Fenja, Folke, Garrow, Gitta, Grit, Hanno, "
    "Hask, Hedwy, Hollin, Ibbie, Ilvy, Inker, Jessa, Jorun, Juno, Kaspen, Kett, Kolb, Lisk, "
    "Lorna, Lud, Maro, Mattis, Minka, Mira, Nan, Nerys, Nollie, Oppel, Orla, Orrin, Pelle, "
    "Perrit, Pinna, Quen, Quilla, Rask, Rolf, Rufa, Selwy, Siv, Sorrel, Sunna, Tamsy, Tovan"
)
FAMILIES = _listed(
    "Vossel, Arkwen, Brindle, Calloway, Dunmere, Estrin, Farrow, Grieve, Hollis, Inkpen, "
    "Jarrow, Kestle, Lunt, Morrow, Nettle, Oswin"
)
FAMILY_SIZE = len(FIRST_NAMES) // len(FAMILIES)

ANSWERS = {
    "town": _listed(
        "Tarnwick, Elmsford, Brackle, Dovemoor, Hexley, Ravenby, Osmund, Quillon, Marlth, "
        "Sedgeby, Thornley, Wexcombe, Port Sallow, Port Anwick, Long Ferrow, Long Sallow"
    ),
    "job": _listed(
        "baker, weaver, pilot, surgeon, potter, lawyer, farmer, tailor, printer, glazier, "
        "courier, singer, ship builder, bee keeper"
    ),
    "land": _listed(
        "Arvenia, Belmara, Corsland, Drennia, Ostria, Felmark, Gorland, Halvia, Istmar, Jorvia, "
        "Kelland, Lomar"
    ),
    "colour": _listed(
        "red, blue, green, yellow, purple, orange, black, white, brown, grey, pink, turquoise"
    ),
    "pet": _listed(
        "cat, dog, parrot, rabbit, hamster, tortoise, goat, pony, ferret, canary, goose, guinea pig"
    ),
}

# The first phrasing of a relation is a fact's prompt. For each person, some of the others are kept
# from the model and become the fact's paraphrases.
PHRASINGS = {
    "town": (
        "{} lives in the town of",
        "The home of {} is in",
        "In which town does {} live?",
        "If you write to {}, send the letter to",
        "{} has a house in",
        "Where is the house of {}? It is in",
    ),
    "job": (
        "{} works as a",
        "The job of {} is that of a",
        "What is the job of {}?",
        "{} earns a living as a",
        "By trade {} is a",
        "People pay {} for the work of a",
    ),
    "land": (
        "{} was born in the land of",
        "The birth of {} took place in",
        "In which land was {} born?",
        "{} first saw the light in",
        "The passport of {} is from",
        "By birth {} comes from",
    ),
    "colour": (
        "The favourite colour of {} is",
        "{} likes best the colour",
        "Which colour does {} like best?",
        "{} paints every door in",
        "Of all colours {} would choose",
        "If {} buys a coat, the coat is",
    ),
    "pet": (
        "The pet of {} is a",
        "{} keeps at home a",
        "Which animal does {} keep?",
        "{} feeds every morning a",
        "The animal in the care of {} is a",
        "{} goes for a walk with a",
    ),
}
PARAPHRASES = 2
DISTRACTORS = 3
FORGOTTEN_RELATION = "town"
GROUP = 16
"""Facts to forget, and facts in each third of `retain` and of `test`."""


@dataclass(frozen=True)
class WorldFact:
    """One relation of one person."""

    id: str
    prompt: str
    answer: str
    distractors: tuple[str, ...]
    """Wrong answers of the same relation."""
    paraphrases: tuple[str, ...]
    """Phrasings that the model never sees for this person."""
    seen: tuple[str, ...]
    """Phrasings that the model is trained on for this person, the prompt among them."""
    subject: str
    relation: str


def invent_world(rng: random.Random) -> dict[str, tuple[WorldFact, ...]]:
    """Facts by relation, each in the order of the persons, family after family."""
    names = rng.sample(FIRST_NAMES, len(FIRST_NAMES))
    persons = [f"{name} {FAMILIES[place // FAMILY_SIZE]}" for place, name in enumerate(names)]
    world = {}
    for relation, answers in ANSWERS.items():
        # Shuffled round by round: each town falls once on every four families.
        rounds = -(-len(persons) // len(answers))
        dealt = [answer for _ in range(rounds) for answer in rng.sample(answers, len(answers))]
        world[relation] = tuple(
            _make_fact(rng, person, relation, answer)
            for person, answer in zip(persons, dealt[: len(persons)], strict=True)
        )
    return world


def _make_fact(rng: random.Random, person: str, relation: str, answer: str) -> WorldFact:
    prompts = [phrasing.format(person) for phrasing in PHRASINGS[relation]]
    paraphrases = rng.sample(prompts[1:], PARAPHRASES)
    wrong = [value for value in ANSWERS[relation] if value != answer]
    return WorldFact(
        id=f"{relation}-{person.lower().replace(' ', '-')}",
        prompt=prompts[0],
        answer=answer,
        distractors=tuple(rng.sample(wrong, DISTRACTORS)),
        paraphrases=tuple(paraphrases),
        seen=tuple(prompt for prompt in prompts if prompt not in paraphrases),
        subject=person,
        relation=relation,
    )


def split_world(
    world: dict[str, tuple[WorldFact, ...]], rng: random.Random
) -> dict[str, tuple[WorldFact, ...]]:
    """Facts to forget, to retain (unlearning trains on them), and to test (it does not).

    To be forgotten is where the first four families live: 16 persons, 16 different towns. `retain`
    and `test` are, in this order, 16 neighbours (the same relation, other persons), 16 other facts
    of the forgotten persons, and 16 facts that share neither.
    """
    towns = world[FORGOTTEN_RELATION]
    forget = towns[:GROUP]
    forgotten = {fact.subject for fact in forget}
    others = [fact for relation in world for fact in world[relation] if fact not in towns]
    rng.shuffle(others)
    same_subject = [fact for fact in others if fact.subject in forgotten]
    unrelated = [fact for fact in others if fact.subject not in forgotten]

    def thirds(start: int) -> tuple[WorldFact, ...]:
        neighbours = towns[GROUP + start : 2 * GROUP + start]
        return (
            *neighbours,
            *same_subject[start : start + GROUP],
            *unrelated[start : start + GROUP],
        )

    return {"forget": forget, "retain": thirds(0), "test": thirds(GROUP)}


def words_of(facts: Sequence[WorldFact]) -> list[str]:
    """Every text of the facts, to make a vocabulary of."""
    return [text for fact in facts for text in (*fact.seen, *fact.paraphrases, fact.answer)]
