"""FaithUn (arXiv 2502.19207): questions about well-known people, by Wikidata entity.

One JSON object that maps entity ids to `hop1_unlearn` (each question is a cluster and becomes a
fact), `hop1_test` (paraphrases), `hop2_test` and `same_object` (evaluation questions, left out).
Clusters are numbered from 0 across all entities in file order; the files
`{forget,retaining,test}_set_split.txt`, next to the JSON or in `splits/`, list these numbers.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from neuronscope.facts.documents import Document, Row, decoded, kind, printable
from neuronscope.facts.fact import Fact, Placed, quoted
from neuronscope.facts.formats._base import FactFormat, Reading, left_out

SPLIT_FILES = {
    "forget_set_split.txt": "forget",
    "retaining_set_split.txt": "retain",
    "test_set_split.txt": "test",
}
QUESTION_NAMES = ("question", "query", "prompt", "text")
FIELDS = ("answers", "false_answer_options")


@dataclass(frozen=True)
class FaithUn(FactFormat):
    """The first of an item's answers is the answer; the false options are distractors."""

    expects: ClassVar[str] = "entities with hop1_unlearn"

    def claims(self, document: Document) -> bool:
        """Whether the file is one object with entities."""
        if len(document.rows) != 1:
            return False
        entities = document.rows[0].fields.values()
        return any(isinstance(entity, dict) and "hop1_unlearn" in entity for entity in entities)

    def read(self, document: Document) -> Reading:
        """One fact per cluster listed in a split file; without split files, all are in `forget`."""
        (whole,) = document.rows
        entities = {name: _entity(whole, name) for name in whole.fields}
        base = {name: _items(entity, "hop1_unlearn") for name, entity in entities.items()}
        rows = [row for items in base.values() for row in items]
        key = _question_name(document, rows)
        clusters: list[Placed] = []
        unmatched = 0
        for name, entity in entities.items():
            facts = [_fact(row, f"{name}-{n}", key) for n, row in enumerate(base[name])]
            matched, missed = _with_paraphrases(facts, base[name], _items(entity, "hop1_test"), key)
            unmatched += missed
            places = [row.place for row in base[name]]
            clusters += [Placed("forget", f, p) for f, p in zip(matched, places, strict=True)]
        placed, split_note = _by_split(clusters, document.path.parent)
        name = quoted(document.path.name)
        notes = (
            f"{name}: entities: {len(entities)}, clusters: {len(clusters)}; the question field is "
            f"{quoted(key)}; the first of several answers is used.",
            f"{name}: {split_note}",
            *_unused(document, entities, unmatched),
            *left_out(document.path, rows, (key, *FIELDS)),
        )
        return Reading(placed, notes)


def _entity(whole: Row, name: str) -> Row:
    value = whole.fields[name]
    place = f"{whole.place}, entity {quoted(name)}"
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected an object with hop1_unlearn, got {kind(value)}.")
    return Row(place, value)


def _items(entity: Row, name: str) -> list[Row]:
    value = entity.fields.get(name)
    if not isinstance(value, list):
        if value is None and name != "hop1_unlearn":
            return []
        raise ValueError(f"{entity.place}: expected {name!r} as a list, got {kind(value)}.")
    rows: list[Row] = []
    for n, item in enumerate(value, 1):
        place = f"{entity.place}, {name} item {n}"
        if not isinstance(item, dict):
            raise ValueError(f"{place}: expected an object, got {kind(item)}.")
        rows.append(Row(place, item))
    return rows


def _question_name(document: Document, rows: list[Row]) -> str:
    """The name of the question field: a common name, or the only text field of every item."""
    if not rows:
        raise ValueError(f"{printable(document.path)}: no entity has a question in hop1_unlearn.")
    counts = Counter(n for r in rows for n, value in r.fields.items() if isinstance(value, str))
    for name in QUESTION_NAMES:
        if name in counts:
            return name
    everywhere = [n for n, count in counts.items() if count == len(rows) and n not in FIELDS]
    if len(everywhere) != 1:
        raise ValueError(
            f"{rows[0].place}: expected the question in the field 'question' and could not infer "
            f"a different name: {len(everywhere)} fields are text in every item."
        )
    return everywhere[0]


def _fact(row: Row, name: str, key: str) -> Fact:
    answers = row.texts("answers")
    if not answers:
        raise ValueError(f"{row.place}: expected at least one text in 'answers', got none.")
    right = {text.strip() for text in answers}
    wrong = [text for text in row.texts("false_answer_options") if text.strip() not in right]
    return Fact(name, row.text(key), answers[0], tuple(dict.fromkeys(wrong)))


def _with_paraphrases(
    facts: list[Fact], base: list[Row], tests: list[Row], key: str
) -> tuple[list[Fact], int]:
    """Assign test questions to the fact with the same answers; count those with no unique match."""
    answers = [set(row.texts("answers")) for row in base]
    paraphrases: list[list[str]] = [[] for _ in facts]
    missed = 0
    for row in tests:
        fitting = [n for n, known in enumerate(answers) if known == set(row.texts("answers"))]
        if len(fitting) == 1:
            paraphrases[fitting[0]].append(row.text(key))
        else:
            missed += 1
    matched = [
        replace(fact, paraphrases=tuple(dict.fromkeys(texts)))
        for fact, texts in zip(facts, paraphrases, strict=True)
    ]
    return matched, missed


def _unused(document: Document, entities: dict[str, Row], unmatched: int) -> tuple[str, ...]:
    counts = {
        name: sum(len(_items(entity, name)) for entity in entities.values())
        for name in ("hop2_test", "same_object")
    }
    counts["hop1_test (no or several matching clusters)"] = unmatched
    unused = [f"{count} of {name}" for name, count in counts.items() if count]
    note = f"{quoted(document.path.name)}: questions left out: {'; '.join(unused)}."
    return (note,) if unused else ()


def _by_split(clusters: list[Placed], folder: Path) -> tuple[tuple[Placed, ...], str]:
    """The clusters listed in the split files, or all clusters without such files; and a note."""
    files = [f for name in SPLIT_FILES for f in (folder / name, folder / "splits" / name)]
    files = [file for file in files if file.is_file()]
    if not files:
        return tuple(clusters), "no split files found: all facts are in 'forget'."
    placed: dict[int, Placed] = {}
    for file in files:
        for line, text in enumerate(decoded(file.read_bytes(), file).splitlines(), 1):
            place = f"{printable(file)}, line {line}"
            for word in text.split():
                number = _cluster(word, len(clusters), place)
                if number in placed:
                    raise ValueError(f"{place}: cluster {number} is listed twice.")
                placed[number] = replace(clusters[number], split=SPLIT_FILES[file.name])
    unused = len(clusters) - len(placed)
    note = f"splits from {', '.join(file.name for file in files)}; clusters in no split: {unused}."
    return tuple(placed[number] for number in sorted(placed)), note


def _cluster(word: str, count: int, place: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 10 and int(word) < count):
        raise ValueError(
            f"{place}: expected a cluster number from 0 to {count - 1}, got {quoted(word)}."
        )
    return int(word)
