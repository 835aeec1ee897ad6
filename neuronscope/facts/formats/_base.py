"""What every format of facts takes and returns."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from neuronscope.facts.documents import Document, Row
from neuronscope.facts.fact import Placed, quoted


@dataclass(frozen=True)
class Reading:
    """The facts of one file, and what a user should know about how they were read."""

    placed: tuple[Placed, ...]
    notes: tuple[str, ...] = ()


class FactFormat(ABC):
    """A format: how its files are told from others', and how they are read."""

    expects: ClassVar[str]
    """The fields that make the format, in one phrase."""

    @abstractmethod
    def claims(self, document: Document) -> bool:
        """Whether the file is written in this format. True of one format at most."""

    @abstractmethod
    def read(self, document: Document) -> Reading:
        """The file's facts.

        Raises:
            ValueError: If a field is missing or of the wrong type, beginning with the place.
        """


def left_out(path: Path, rows: Iterable[Row], known: Sequence[str]) -> tuple[str, ...]:
    """A note on the fields that a format has no use for; none if there are no such fields."""
    counts = Counter(name for row in rows for name in row.fields if name not in known)
    if not counts:
        return ()
    shown = [f"{quoted(name)} ({count})" for name, count in sorted(counts.items())]
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return (
        f"{quoted(path.name)}: fields left out, with their rows: {', '.join(shown[:8])}{more}.",
    )
