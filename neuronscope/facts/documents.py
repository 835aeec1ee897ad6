"""Read files of facts into rows of named fields, with the location of each row.

Supports JSON lines, a JSON list, a single JSON object, Parquet, and tables of text (CSV). Every
error is a one-line ValueError that begins with the location and quotes at most a short piece of the
data.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from neuronscope.facts.fact import SPLITS, quoted
from neuronscope.facts.tables import table_rows

TABLES = (".csv", ".tsv")
"""Endings of tables of text, which their content does not reveal."""

SUFFIXES = (".json", ".jsonl", ".ndjson", ".parquet", *TABLES)

IN_A_CELL = "|"
"""Separates the texts of a list in one cell of a table."""

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Row:
    """One object of a file. A null field counts as missing."""

    place: str
    """File and line, for error messages."""

    fields: dict[str, object]

    separator: str | None = None
    """What separates the texts of a list that is given as one text."""

    def text(self, name: str) -> str:
        """A required text field.

        Raises:
            ValueError: If it is missing or not text.
        """
        value = self.fields.get(name)
        if not isinstance(value, str):
            raise ValueError(f"{self.place}: expected {name!r} as text, got {kind(value)}.")
        return value

    def optional_text(self, name: str) -> str | None:
        """An optional text field, None if missing or blank.

        Raises:
            ValueError: If it is not text.
        """
        text = "" if self.fields.get(name) is None else self.text(name)
        return text if text.strip() else None

    def texts(self, name: str) -> tuple[str, ...]:
        """A field as a tuple of strings; none if it is missing.

        A string is one text, or several if the row has a separator.

        Raises:
            ValueError: If it is neither a string nor a list of strings.
        """
        value = self.fields.get(name)
        if value is None:
            return ()
        if isinstance(value, str) and self.separator:
            return tuple(text.strip() for text in value.split(self.separator) if text.strip())
        values = value if isinstance(value, list) else [value]
        strings = tuple(item for item in values if isinstance(item, str))
        if len(strings) < len(values):
            odd = next(item for item in values if not isinstance(item, str))
            raise ValueError(
                f"{self.place}: expected {name!r} as a list of texts, got {kind(odd)}."
            )
        return strings

    def split(self, otherwise: str) -> str:
        """The value of the field `split`, or `otherwise` if missing.

        Raises:
            ValueError: If it is not a known split.
        """
        name = self.optional_text("split") or otherwise
        if name not in SPLITS:
            raise ValueError(
                f"{self.place}: unknown split {quoted(name)}, expected one of {', '.join(SPLITS)}."
            )
        return name


@dataclass(frozen=True)
class Document:
    """The rows of a file."""

    path: Path
    rows: tuple[Row, ...]

    @property
    def field_names(self) -> frozenset[str]:
        """The names of all fields that occur in any row."""
        return frozenset(name for row in self.rows for name in row.fields)


def read_document(path: Path) -> Document:
    """Read a file as rows.

    Raises:
        ValueError: As `parse_document`.
    """
    return parse_document(path.read_bytes(), path)


def parse_document(raw: bytes, path: Path) -> Document:
    """Parse a file's content: a table by its ending, Parquet and JSON by the content itself.

    Raises:
        ValueError: If there are no rows, or the content is neither Parquet nor UTF-8 text in one of
            the other formats.
    """
    if raw.startswith(b"PAR1"):
        return Document(path, _parquet_rows(raw, printable(path)))
    text = decoded(raw, path)
    if not text.strip():
        raise ValueError(f"{printable(path)}: the file is empty, expected facts.")
    if path.suffix in TABLES:
        rows = table_rows(text, printable(path))
        return Document(path, tuple(Row(place, cells, IN_A_CELL) for place, cells in rows))
    return Document(path, _json_rows(text, path))


def decoded(raw: bytes, path: Path) -> str:
    """Decode a file's text, without a byte order mark.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{printable(path)}, line {line}: not UTF-8 text.") from None


def printable(path: Path) -> str:
    """A path for use in a message."""
    return str(path) if str(path).isprintable() else repr(str(path))


def kind(value: object) -> str:
    """The type of a JSON value in words, without its content, which may be arbitrarily large."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    names = {str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")


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
        raise ValueError(f"{name}, line {number}: expected one JSON object, found text after it.")
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
        raise ValueError(f"{rows[-1].place}: expected the file to end, found text after the list.")
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
    """The JSON value at `start`, after optional whitespace, and the position where it ends."""
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
        raise ValueError(f"the field {quoted(twice)} appears twice")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)


def _parquet_rows(raw: bytes, name: str) -> tuple[Row, ...]:
    # Imported here because the import is slow and only Parquet files need it.
    import pyarrow
    import pyarrow.parquet

    try:
        records = pyarrow.parquet.read_table(pyarrow.BufferReader(raw)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{name}: not readable as Parquet ({type(error).__name__}).") from None
    if not records:
        raise ValueError(f"{name}: the table is empty, expected facts.")
    return tuple(_row(record, f"{name}, row {n}") for n, record in enumerate(records, 1))
