"""The interface of all file formats of facts."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from neuronscope.facts.documents import Document, Row
from neuronscope.facts.fact import Fact, Placed, quoted


@dataclass(frozen=True)
class Reading:
    """The facts of one file, and notes for the user about how they were read."""

    placed: tuple[Placed, ...]
    notes: tuple[str, ...] = ()


class FactFormat(ABC):
    """A file format, which detects and reads its files."""

    expects: ClassVar[str]
    """The fields that identify the format, in one phrase."""

    @abstractmethod
    def claims(self, document: Document) -> bool:
        """Whether the file is in this format; true for at most one format."""

    @abstractmethod
    def read(self, document: Document) -> Reading:
        """Read the facts of a file.

        Raises:
            ValueError: If a field is missing or of the wrong type; the message begins with the
                location.
        """


def by_row(document: Document, fact: Callable[[Row, str], Fact], known: Sequence[str]) -> Reading:
    """One fact per row, in the split that the row names or else in `forget`.

    Args:
        fact: Makes the fact of a row; the text is an id for rows without one.
        known: The fields that the format uses.
    """
    placed = tuple(
        Placed(row.split("forget"), fact(row, f"{document.path.stem}-{n:04}"), row.place)
        for n, row in enumerate(document.rows)
    )
    notes = left_out(document.path, document.rows, known)
    if "split" not in document.field_names:
        notes += (
            f"{quoted(document.path.name)}: no row names a split: all facts are in 'forget'.",
        )
    return Reading(placed, notes)


def left_out(path: Path, rows: Iterable[Row], known: Sequence[str]) -> tuple[str, ...]:
    """A note on the fields that the format does not use, if there are any."""
    counts = Counter(name for row in rows for name in row.fields if name not in known)
    if not counts:
        return ()
    shown = [f"{quoted(name)} ({count})" for name, count in sorted(counts.items())]
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return (f"{quoted(path.name)}: unused fields (number of rows): {', '.join(shown[:8])}{more}.",)
