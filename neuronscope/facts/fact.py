"""Pieces of knowledge and their splits. Files of facts are read by `fact_formats/`."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from neuronscope.display import html_card, html_table, shortened

SHOWN = 3
"""Facts of each split that a set shows of itself."""

SPLITS = ("forget", "retain", "test", "utility")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Fact:
    """One piece of knowledge: a prompt, and the answer that the model gives or has to forget."""

    id: str
    """Printable, and unique among all facts."""

    prompt: str
    """A question, or the beginning of a sentence that the answer completes."""

    answer: str

    distractors: tuple[str, ...] = ()
    """Wrong answers of the same kind."""

    paraphrases: tuple[str, ...] = ()
    """Other prompts for the same answer."""

    subject: str | None = None
    """What the fact is about, in the prompt's words."""

    relation: str | None = None
    """What is said of the subject, e.g. `capital`."""

    paraphrased_answers: tuple[str, ...] = ()
    """The answer in other words: what the truth ratio compares the distractors with."""


@dataclass(frozen=True)
class FactSet:
    """Facts by split, named as in the unlearning literature. Disjoint by id and by content."""

    forget: tuple[Fact, ...] = ()
    """What the model has to forget: the facts under judgement."""

    retain: tuple[Fact, ...] = ()
    """What unlearning tries to keep."""

    test: tuple[Fact, ...] = ()
    """Facts of the same kind that unlearning never sees."""

    utility: tuple[Fact, ...] = ()
    """General knowledge."""

    source: str = field(default="", compare=False)
    """What was read."""

    notes: tuple[str, ...] = field(default=(), compare=False)
    """What was found there, and what was left out: one sentence each."""

    def __post_init__(self) -> None:
        check_facts([Placed(s, fact, f"{s} fact {quoted(fact.id)}") for s, fact in self])

    def __iter__(self) -> Iterator[tuple[str, Fact]]:
        """Every fact with the name of its split, in the order of `SPLITS`."""
        for name in SPLITS:
            for fact in self.split(name):
                yield name, fact

    def __repr__(self) -> str:
        counts = [f"{len(self.split(name))} {name}" for name in SPLITS if self.split(name)]
        source = f" from {shortened(self.source)!r}" if self.source else ""
        return f"FactSet({', '.join(counts) or 'no facts'}{source})"

    def _repr_html_(self) -> str:
        """How many facts there are, the first of each split, and the notes."""
        rows = [
            (name, shortened(fact.id), shortened(fact.prompt, 120), shortened(fact.answer))
            for name in SPLITS
            for fact in self.split(name)[:SHOWN]
        ]
        table = html_table(("split", "id", "prompt", "answer"), rows)
        return html_card(repr(self), " ".join(self.notes), table)

    def __getitem__(self, id: str) -> Fact:
        """The fact of this id.

        Raises:
            KeyError: If there is none.
        """
        for _, fact in self:
            if fact.id == id:
                return fact
        raise KeyError(f"No fact has the id {quoted(id)}.")

    def split(self, name: str) -> tuple[Fact, ...]:
        """The facts of one split.

        Raises:
            ValueError: If there is no split of that name.
        """
        if name not in SPLITS:
            raise ValueError(f"No split {quoted(name)}: there are {', '.join(SPLITS)}.")
        return {
            "forget": self.forget,
            "retain": self.retain,
            "test": self.test,
            "utility": self.utility,
        }[name]


@dataclass(frozen=True)
class Placed:
    """A fact, its split, and where its author finds it: what an error names."""

    split: str
    fact: Fact
    place: str


def check_facts(placed: Sequence[Placed]) -> None:
    """Refuse facts that nothing can be measured on.

    Raises:
        ValueError: If a text is empty or no Unicode, a distractor equals the answer or another
            distractor, two facts share an id, or one fact stands in two splits. In one line,
            beginning with the place.
    """
    by_id: dict[str, Placed] = {}
    by_content: dict[tuple[str, str], Placed] = {}
    for entry in placed:
        flaw = _flaw(entry.fact)
        if flaw is not None:
            raise ValueError(f"{entry.place}: {flaw}.")
        same = by_id.setdefault(entry.fact.id, entry)
        if same is not entry:
            raise ValueError(
                f"{entry.place}: the id {quoted(entry.fact.id)} is already that of {same.place}."
            )
        same = by_content.setdefault(content(entry.fact), entry)
        if same.split != entry.split:
            raise ValueError(
                f"{entry.place}: the same prompt and answer as {same.place}, there in split "
                f"{same.split!r} and here in {entry.split!r}; a fact belongs to one split."
            )


def content(fact: Fact) -> tuple[str, str]:
    """Prompt and answer with their whitespace evened out: equal for the same piece of knowledge."""
    return " ".join(fact.prompt.split()), " ".join(fact.answer.split())


def facts_hash(facts: Iterable[tuple[str, Fact]]) -> str:
    """SHA-256 of (split, fact) pairs, in their order: of a `FactSet`, or of a choice of facts."""
    plain = [[split, _plain(fact)] for split, fact in facts]
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def quoted(text: str) -> str:
    """Text of unknown origin for use within a message: quoted, at most 40 characters, one line."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _plain(fact: Fact) -> dict[str, object]:
    """A fact's fields; one that came later only where it is used, so that older hashes hold."""
    plain = asdict(fact)
    if not fact.paraphrased_answers:
        del plain["paraphrased_answers"]
    return plain


def _flaw(fact: Fact) -> str | None:
    if not fact.id.strip() or not fact.id.isprintable():
        return f"the id must be printable text, got {quoted(fact.id)}"
    for name, texts in (
        ("prompt", (fact.prompt,)),
        ("answer", (fact.answer,)),
        ("distractor", fact.distractors),
        ("paraphrase", fact.paraphrases),
        ("paraphrased answer", fact.paraphrased_answers),
        ("subject", () if fact.subject is None else (fact.subject,)),
        ("relation", () if fact.relation is None else (fact.relation,)),
    ):
        if not all(text.strip() for text in texts):
            return f"the {name} is empty"
        if any(_LONE_SURROGATE.search(text) for text in texts):
            return f"the {name} holds half of a surrogate pair, which is no character"
    wrong = [text.strip() for text in fact.distractors]
    for right in (fact.answer, *fact.paraphrased_answers):
        if right.strip() in wrong:
            return f"a distractor equals the answer {quoted(right)}"
    if len(set(wrong)) < len(wrong):
        twice = next(text for text in wrong if wrong.count(text) > 1)
        return f"the distractor {quoted(twice)} stands twice"
    return None
