"""The finding of a view, in memory and on disk. Needs no model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from neuronscope.display import html_card, html_table, shortened, shown_number, with_interval
from neuronscope.results.cache import file_checksum, read_sealed, write_sealed, written_whole

FILE = "finding.json"
"""A finding's file, next to its tables."""

Word = Literal["hidden", "erased", "mixed", "not forgotten", "collapsed", "cannot tell"]
"""A verdict on the knowledge, by one view or by all of them together."""

Figure = float | int | str | bool | None
"""A value in a finding's `figures`."""


ITSELF = -1
"""In a column `control`: the measurement itself; values from 0 on are random controls."""


@dataclass(frozen=True)
class Finding:
    """The result of one view, with its uncertainty."""

    view: str
    """The view's file name, e.g. `low_rank_restoration`."""

    word: Word | None
    """The verdict of this view alone; None for a view that localizes an effect without interpreting
    it."""

    value: float
    """The value that the verdict rests on; NaN if it could not be measured."""

    ci95: tuple[float, float]
    """95 % interval of the value; NaN without one."""

    meaning: str
    """The quantity and unit of the value, as a noun phrase."""

    why: str
    """One self-contained sentence that explains the result."""

    figures: Mapping[str, Figure] = field(default_factory=dict)
    """Further single numbers."""

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    """The data of the view's plots."""

    warnings: tuple[str, ...] = ()
    """Limitations of this finding."""

    def __post_init__(self) -> None:
        if self.word is not None and self.word not in get_args(Word):
            raise ValueError(f"{self.view}: expected one of {get_args(Word)}, got {self.word!r}")

    @property
    def title(self) -> str:
        """The view's name, and its verdict if it has one."""
        name = self.view.replace("_", " ")
        return name if self.word is None else f"{name}: {self.word}"

    def __repr__(self) -> str:
        return (
            f"Finding({shortened(self.title)}, {shown_number(self.value)} "
            f"({shortened(self.meaning, 120)}), tables: {shortened(', '.join(self.tables))})"
        )

    def _repr_html_(self) -> str:
        """The verdict, the numbers, and the warnings."""
        rows = [
            (self.meaning, with_interval(self.value, self.ci95)),
            *((name.replace("_", " "), _shown(figure)) for name, figure in self.figures.items()),
            *(("note", warning) for warning in self.warnings),
        ]
        return html_card(self.title, self.why, html_table(("", ""), rows))

    def save(self, folder: Path, identity: str) -> None:
        """Write to a new folder atomically.

        Args:
            identity: The key of what the finding was computed from; pass the same to `load`.

        Raises:
            FileExistsError: If the folder exists.
        """
        if folder.exists():
            raise FileExistsError(f"{folder} exists.")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(folder) as unfinished:
            unfinished.mkdir()
            tables = {name: unfinished / f"{name}.parquet" for name in self.tables}
            for name, file in tables.items():
                self.tables[name].to_parquet(file, index=False)
            content = vars(self) | {
                "value": _plain(self.value),
                "ci95": [_plain(end) for end in self.ci95],
                "figures": {name: _plain(figure) for name, figure in self.figures.items()},
                "tables": {name: file_checksum(file) for name, file in tables.items()},
            }
            write_sealed(unfinished / FILE, content, identity)

    @classmethod
    def load(cls, folder: Path, identity: str) -> "Finding":
        """Load the finding that was saved to a folder.

        Raises:
            ValueError: If a file is damaged or missing, or the finding has a different identity;
                the message names the file.
        """
        if not (folder / FILE).is_file():
            raise ValueError(f"{folder / FILE} is missing: delete the folder to compute it again.")
        content = read_sealed(folder / FILE, identity)
        tables = {}
        for name, checksum in content["tables"].items():
            file = folder / f"{name}.parquet"
            if not file.is_file() or file_checksum(file) != checksum:
                raise ValueError(
                    f"{file} is damaged or missing: delete the folder to compute it again."
                )
            tables[name] = pd.read_parquet(file)
        low, high = map(_number, content["ci95"])
        parsed = {"value": _number(content["value"]), "ci95": (low, high), "tables": tables}
        return cls(**(content | parsed | {"warnings": tuple(content["warnings"])}))


def _shown(figure: Figure) -> str:
    return shown_number(figure) if isinstance(figure, float) else str(figure)


def _plain(figure: Figure) -> Figure:
    return None if isinstance(figure, float) and math.isnan(figure) else figure


def _number(stored: float | None) -> float:
    return math.nan if stored is None else float(stored)
