"""Files of facts as rows of named fields, whatever they are written in; and where each row stands.

JSON lines, a JSON list, a single JSON object, or Parquet. Every error is a ValueError of one line
that begins with the place and repeats no more of the data than a short quotation.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from neuronscope.facts.fact import SPLITS, quoted

SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet")

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Row:
    """One object of a file. A field that is null counts as absent."""

    place: str
    """File and line, for messages."""

    fields: dict[str, object]

    def text(self, name: str) -> str:
        """A field that must be there, as text.

        Raises:
            ValueError: If it is missing, or anything else.
        """
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise ValueError(f"{self.place}: expected {name!r} as text, got {kind(value)}.")
        return value

    def optional_text(self, name: str) -> str | None:
        """A field as text, or None where it is absent or blank.

        Raises:
            ValueError: If it is anything else.
        """
        text = "" if self.fields.get(name) is None else self.text(name)
        return text if text.strip() else None

    def texts(self, name: str) -> tuple[str, ...]:
        """A field as a list of texts: a single text is a list of one, an absent field an empty one.

        Raises:
            ValueError: If it is anything else.
        """
        value = self.fields.get(name)
        if value is None:
            return ()
        values = value if isinstance(value, list) else [value]
        strings = tuple(item for item in values if isinstance(item, str))
        if len(strings) < len(values):
            odd = next(item for item in values if not isinstance(item, str))
            raise ValueError(
                f"{self.place}: expected {name!r} as a list of texts, got {kind(odd)}."
            )
        return strings

    def split(self, otherwise: str) -> str:
        """The split that the row names in its field `split`, or `otherwise`.

        Raises:
            ValueError: If there is no split of that name.
        """
        name = self.optional_text("split") or otherwise
        if name not in SPLITS:
            raise ValueError(
                f"{self.place}: unknown split {quoted(name)}, expected {', '.join(SPLITS)}."
            )
        return name


@dataclass(frozen=True)
class Document:
    """A file, as rows."""

    path: Path
    rows: tuple[Row, ...]

    @property
    def field_names(self) -> frozenset[str]:
        """Every field that any row has."""
        return frozenset(name for row in self.rows for name in row.fields)


def read_document(path: Path) -> Document:
    """Read a file of rows.

    Raises:
        ValueError: As `parse_document`.
    """
    return parse_document(path.read_bytes(), path)


def parse_document(raw: bytes, path: Path) -> Document:
    """A file's rows, its kind recognised by what it holds.

    Raises:
        ValueError: If it holds no rows, or is neither Parquet nor JSON in UTF-8.
    """
    if raw.startswith(b"PAR1"):
        return Document(path, _parquet_rows(raw, printable(path)))
    text = decoded(raw, path)
    if not text.strip():
        raise ValueError(f"{printable(path)}: the file is empty, expected facts.")
    return Document(path, _json_rows(text, path))


def decoded(raw: bytes, path: Path) -> str:
    """A file's text, without a byte order mark.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{printable(path)}, line {line}: not UTF-8 text.") from None


def printable(path: Path) -> str:
    """A path for use within a message."""
    return str(path) if str(path).isprintable() else repr(str(path))


def kind(value: object) -> str:
    """What a JSON value is, in words. Its content is not shown: it may be of any size and depth."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    words = {str: "text", list: "a list", dict: "an object"}
    return words.get(type(value), f"a {type(value).__name__}")


def _json_rows(text: str, path: Path) -> tuple[Row, ...]:
    name = printable(path)
    if text.lstrip().startswith("["):
        return _list_rows(text, name)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    whole_lines = lines[0][1].rstrip().endswith("}") or path.suffix in (".jsonl", ".ndjson")
    if text.lstrip().startswith("{") and not whole_lines:
        return (_row(_decode(text, 0, name, 1)[0], name),)
    return tuple(
        _row(_line(line, name, number), f"{name}, line {number}") for number, line in lines
    )


def _line(line: str, name: str, number: int) -> object:
    value, end = _decode(line, 0, name, number)
    if line[end:].strip():
        raise ValueError(f"{name}, line {number}: expected one JSON object, got more after it.")
    return value


def _list_rows(text: str, name: str) -> tuple[Row, ...]:
    rows: list[Row] = []
    at, line, counted = text.index("[") + 1, 1, 0
    while True:
        at = _end_of_space(text, at)
        line, counted = line + text.count("\n", counted, at), at
        if text[at : at + 1] == "]" and not rows:
            raise ValueError(f"{name}: the list is empty, expected facts.")
        value, at = _decode(text, at, name, 1)
        rows.append(_row(value, f"{name}, item {len(rows) + 1} (line {line})"))
        at = _end_of_space(text, at) + 1
        if text[at - 1 : at] == "]":
            break
        if text[at - 1 : at] != ",":
            raise ValueError(f"{rows[-1].place}: not valid JSON (no comma or ] after the item).")
    if text[at:].strip():
        raise ValueError(f"{rows[-1].place}: expected the list to end the file, got more after it.")
    return tuple(rows)


def _end_of_space(text: str, start: int) -> int:
    match = _SPACE.match(text, start)
    assert match is not None, "the pattern matches an empty text"
    return match.end()


def _row(value: object, place: str) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"{place}: expected an object with named fields, got {kind(value)}.")
    return Row(place, value)


def _decode(text: str, start: int, name: str, first_line: int) -> tuple[object, int]:
    """The JSON value that begins at `start` or after the space there, and where it ends."""
    try:
        return _DECODER.raw_decode(text, _end_of_space(text, start))
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise ValueError(
            f"{name}, line {line}: not valid JSON ({error.msg}, column {error.colno})."
        ) from None
    except RecursionError:
        line = first_line + text.count("\n", 0, start)
        raise ValueError(f"{name}, line {line}: nested too deeply for a fact.") from None
    except ValueError as error:
        line = first_line + text.count("\n", 0, start)
        raise ValueError(f"{name}, line {line}: not valid JSON ({error}).") from None


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {quoted(twice)} stands twice")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)


def _parquet_rows(raw: bytes, name: str) -> tuple[Row, ...]:
    # Only readers of Parquet pay for the import.
    import pyarrow
    import pyarrow.parquet

    try:
        records = pyarrow.parquet.read_table(pyarrow.BufferReader(raw)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{name}: not readable as Parquet ({type(error).__name__}).") from None
    if not records:
        raise ValueError(f"{name}: the table is empty, expected facts.")
    return tuple(_row(record, f"{name}, row {n}") for n, record in enumerate(records, 1))
