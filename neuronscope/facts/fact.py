"""Facts and their splits. `formats/` reads files of facts."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

from neuronscope.display import html_card, html_table, shortened

SHOWN = 3
"""Number of facts per split in the HTML representation."""

SPLITS = ("forget", "retain", "test", "utility")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Fact:
    """One piece of knowledge: a prompt and its answer."""

    id: str
    """Printable and unique among all facts."""

    prompt: str
    """A question, or the beginning of a sentence that the answer completes."""

    answer: str

    distractors: tuple[str, ...] = ()
    """Wrong answers of the same kind."""

    paraphrases: tuple[str, ...] = ()
    """Alternative prompts for the same answer."""

    subject: str | None = None
    """What the fact is about, as worded in the prompt."""

    relation: str | None = None
    """The relation between subject and answer, e.g. `capital`."""

    paraphrased_answers: tuple[str, ...] = ()
    """Paraphrases of the answer, which the truth ratio compares with the distractors."""


@dataclass(frozen=True)
class FactSet:
    """Facts by split, named as in the unlearning literature; no id or content is in two splits."""

    forget: tuple[Fact, ...] = ()
    """The forget set: facts the model was or will be trained to forget."""

    retain: tuple[Fact, ...] = ()
    """The retain set: facts that unlearning tries to preserve."""

    test: tuple[Fact, ...] = ()
    """Held-out facts of the same kind, not used by unlearning."""

    utility: tuple[Fact, ...] = ()
    """General knowledge."""

    source: str = field(default="", compare=False)
    """The path that was read."""

    notes: tuple[str, ...] = field(default=(), compare=False)
    """What was read and what was left out, one sentence each."""

    def __post_init__(self) -> None:
        check_facts([Placed(s, fact, f"{s} fact {quoted(fact.id)}") for s, fact in self])

    def __iter__(self) -> Iterator[tuple[str, Fact]]:
        """Iterate over (split, fact) pairs in the order of `SPLITS`."""
        for name in SPLITS:
            for fact in self.split(name):
                yield name, fact

    def __repr__(self) -> str:
        counts = [f"{len(self.split(name))} {name}" for name in SPLITS if self.split(name)]
        source = f" from {shortened(self.source)!r}" if self.source else ""
        return f"FactSet({', '.join(counts) or 'no facts'}{source})"

    def _repr_html_(self) -> str:
        """The number of facts, the first facts of each split, and the notes."""
        rows = [
            (name, shortened(fact.id), shortened(fact.prompt, 120), shortened(fact.answer))
            for name in SPLITS
            for fact in self.split(name)[:SHOWN]
        ]
        table = html_table(("split", "id", "prompt", "answer"), rows)
        return html_card(repr(self), " ".join(self.notes), table)

    def __getitem__(self, id: str) -> Fact:
        """The fact with this id.

        Raises:
            KeyError: If no fact has this id.
        """
        for _, fact in self:
            if fact.id == id:
                return fact
        raise KeyError(f"No fact has the id {quoted(id)}.")

    def split(self, name: str) -> tuple[Fact, ...]:
        """The facts of one split.

        Raises:
            ValueError: If the split is unknown.
        """
        if name not in SPLITS:
            raise ValueError(f"No split {quoted(name)}: expected one of {', '.join(SPLITS)}.")
        return {
            "forget": self.forget,
            "retain": self.retain,
            "test": self.test,
            "utility": self.utility,
        }[name]


@dataclass(frozen=True)
class Placed:
    """A fact with its split, and its location for error messages."""

    split: str
    fact: Fact
    place: str


def check_facts(placed: Sequence[Placed]) -> None:
    """Raise if a fact is malformed or conflicts with another one.

    Raises:
        ValueError: If a text is empty or not valid Unicode, a distractor equals the answer or
            another distractor, two facts share an id, or a fact is in two splits. The message is
            one line that begins with the location.
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
                f"{entry.place}: the id {quoted(entry.fact.id)} is already used by {same.place}."
            )
        same = by_content.setdefault(content(entry.fact), entry)
        if same.split != entry.split:
            raise ValueError(
                f"{entry.place}: the same prompt and answer as {same.place}, in split "
                f"{entry.split!r} instead of {same.split!r}; a fact must be in a single split."
            )


def content(fact: Fact) -> tuple[str, str]:
    """Prompt and answer with normalized whitespace; equal for facts with the same content."""
    return " ".join(fact.prompt.split()), " ".join(fact.answer.split())


def facts_hash(facts: Iterable[tuple[str, Fact]]) -> str:
    """SHA-256 of (split, fact) pairs in order, e.g. of a `FactSet` or a selection of facts."""
    plain = [[split, _plain(fact)] for split, fact in facts]
    canonical = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def quoted(text: str) -> str:
    """Quote untrusted text for a message: one line, truncated to 40 characters."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def _plain(fact: Fact) -> dict[str, object]:
    """A fact's fields; newer fields only if they are set, so that older hashes stay valid."""
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
            return f"the {name} contains half of a surrogate pair, which is not a character"
    wrong = [text.strip() for text in fact.distractors]
    for right in (fact.answer, *fact.paraphrased_answers):
        if right.strip() in wrong:
            return f"a distractor equals the answer {quoted(right)}"
    if len(set(wrong)) < len(wrong):
        twice = next(text for text in wrong if wrong.count(text) > 1)
        return f"the distractor {quoted(twice)} appears twice"
    return None
