"""Reading facts: one file per format. A format is recognised by what a file holds."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from neuronscope._discover import method_class, method_names
from neuronscope.facts.documents import SUFFIXES, Document, printable, read_document
from neuronscope.facts.fact import Fact, FactSet, Placed, check_facts, content, quoted
from neuronscope.facts.formats._base import FactFormat


def load_facts(path: Path | str) -> FactSet:
    """The facts of a file, or of all fact files in a folder, whatever their format.

    What was found and what was left out is said in the set's `notes`.

    Raises:
        FileNotFoundError: If there is nothing at the path.
        ValueError: If the file is in no known format, or a fact in it cannot be used: one line that
            names the file and, where there is one, the line.
    """
    path = Path(path)
    return gather([read_document(file) for file in _files(path)], str(path))


def gather(documents: Sequence[Document], source: str) -> FactSet:
    """The facts of some files together, each piece of knowledge once.

    Raises:
        ValueError: As `load_facts`.
    """
    placed: list[Placed] = []
    notes: list[str] = []
    for document in documents:
        name = _format_of(document)
        reading = _formats()[name].read(document)
        counts = Counter(entry.split for entry in reading.placed)
        splits = ", ".join(f"{count} {split}" for split, count in counts.items())
        notes += [f"{quoted(document.path.name)}: {name}, {splits}.", *reading.notes]
        placed += reading.placed
    check_facts(placed)
    kept, repeats = _once(placed)

    def of(split: str) -> tuple[Fact, ...]:
        return tuple(entry.fact for entry in kept if entry.split == split)

    return FactSet(
        forget=of("forget"),
        retain=of("retain"),
        test=of("test"),
        utility=of("utility"),
        source=source,
        notes=(*notes, *repeats),
    )


@cache
def _formats() -> dict[str, FactFormat]:
    names = method_names("facts/formats")
    return _made({name: method_class("facts/formats", name, FactFormat) for name in names})


def _made(classes: dict[str, type[FactFormat]]) -> dict[str, FactFormat]:
    return {name: one() for name, one in classes.items()}


def _files(path: Path) -> list[Path]:
    """The file itself; or a folder's fact files, or else those one level below it."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(
            f"No facts at {printable(path)}: expected a file or a folder of "
            f"{', '.join(SUFFIXES)} files."
        )
    for pattern in ("*", "*/*"):
        files = [f for f in path.glob(pattern) if f.suffix in SUFFIXES and f.is_file()]
        if files:
            return sorted(files)
    raise ValueError(f"{printable(path)}: the folder has no {', '.join(SUFFIXES)} files.")


def _format_of(document: Document) -> str:
    formats = _formats()
    claiming = [name for name, candidate in formats.items() if candidate.claims(document)]
    if len(claiming) != 1:
        known = "; ".join(f"{name} ({one.expects})" for name, one in formats.items())
        found = ", ".join(quoted(name) for name in sorted(document.field_names)[:8])
        raise ValueError(
            f"{document.rows[0].place}: expected the fields of one format, {known}; "
            f"the file's are {found or 'none'}."
        )
    return claiming[0]


def _once(placed: Sequence[Placed]) -> tuple[list[Placed], tuple[str, ...]]:
    """Each piece of knowledge once, with its richest entry; and a note on those that repeat it."""
    best: dict[tuple[str, str], Placed] = {}
    repeats: list[tuple[Placed, Placed]] = []
    for entry in placed:
        key = content(entry.fact)
        first = best.setdefault(key, entry)
        if first is not entry:
            kept, other = (entry, first) if _size(entry) > _size(first) else (first, entry)
            best[key] = kept
            repeats.append((kept, other))
    if not repeats:
        return list(best.values()), ()
    kept, other = repeats[0]
    return list(best.values()), (
        f"left out, since another fact has the same prompt and answer: {len(repeats)}, first "
        f"{quoted(other.fact.id)}, which repeats {quoted(kept.fact.id)}.",
    )


def _size(entry: Placed) -> int:
    fact = entry.fact
    return len(fact.distractors) + len(fact.paraphrases) + len(fact.paraphrased_answers)
