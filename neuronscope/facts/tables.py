"""Read a table of text (CSV) into named cells, with the location of each row."""

import csv
import io

from neuronscope.facts.fact import quoted

DELIMITERS = (",", ";", "\t")
"""What may separate the cells: whichever of these the header contains most of."""


def table_rows(text: str, name: str) -> list[tuple[str, dict[str, object]]]:
    """The place of each row below the header, and its cells by column; None if a cell is blank.

    Args:
        name: The file's name, for error messages.

    Raises:
        ValueError: If the text is not a table in which every row has as many cells as the header,
            or if there are no rows; the message begins with the location.
    """
    start = text.lstrip("\r\n")
    line = 1 + text[: len(text) - len(start)].count("\n")
    delimiter = max(DELIMITERS, key=start.split("\n", 1)[0].count)
    reader = csv.reader(io.StringIO(start, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    rows: list[tuple[str, dict[str, object]]] = []
    while True:
        place = f"{name}, line {line + reader.line_num}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{place}: not a valid table ({error}).") from None
        if cells is None:
            break
        if not header:
            header = _header(cells, place)
        elif any(cell.strip() for cell in cells):
            rows.append((place, _named(cells, header, place)))
    if not rows:
        raise ValueError(f"{name}: the table has no rows below its header, expected facts.")
    return rows


def _header(cells: list[str], place: str) -> list[str]:
    names = [cell.strip() for cell in cells]
    if not all(names):
        raise ValueError(f"{place}: expected a name for every column, got an empty one.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{place}: the column {quoted(twice)} appears twice.")
    return names


def _named(cells: list[str], header: list[str], place: str) -> dict[str, object]:
    if len(cells) != len(header):
        raise ValueError(
            f"{place}: expected {len(header)} cells, as in the header, got {len(cells)}; a cell "
            "that contains the separator must be in double quotes."
        )
    return {name: cell if cell.strip() else None for name, cell in zip(header, cells, strict=True)}
