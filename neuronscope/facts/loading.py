"""Load facts; the format of each file is detected from its content."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from neuronscope._discover import method_class, method_names
from neuronscope.facts.documents import SUFFIXES, Document, printable, read_document
from neuronscope.facts.fact import Fact, FactSet, Placed, check_facts, content, quoted
from neuronscope.facts.formats._base import FactFormat


def load_facts(path: Path | str) -> FactSet:
    """Load the facts of a file, or of all fact files in a folder, in any supported format.

    The `notes` of the result list what was read and what was left out.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If the format of a file is unknown or a fact is malformed; the message is one
            line that names the file and, if possible, the line.
    """
    path = Path(path)
    return gather([read_document(file) for file in _files(path)], str(path))


def gather(documents: Sequence[Document], source: str) -> FactSet:
    """Combine the facts of several files, without duplicates.

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
    """The file itself, or the fact files in a folder, or else those one level below it."""
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
        fields = ", ".join(quoted(name) for name in sorted(document.field_names)[:8])
        raise ValueError(
            f"{document.rows[0].place}: expected the fields of one format, {known}; "
            f"got {fields or 'none'}."
        )
    return claiming[0]


def _once(placed: Sequence[Placed]) -> tuple[list[Placed], tuple[str, ...]]:
    """Remove duplicates, keeping the entry with more distractors and paraphrases; add a note."""
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
        f"duplicates (same prompt and answer) left out: {len(repeats)}, the first being "
        f"{quoted(other.fact.id)}, a duplicate of {quoted(kept.fact.id)}.",
    )


def _size(entry: Placed) -> int:
    fact = entry.fact
    return len(fact.distractors) + len(fact.paraphrases) + len(fact.paraphrased_answers)
