"""The finding of a view, in memory and on disk. Needs no model."""

import json
import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

Word = Literal["hidden", "erased", "mixed", "not forgotten", "collapsed", "cannot tell"]
"""What became of the knowledge, according to one view or to all of them."""

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

    def save(self, folder: Path, identity: str) -> None:
        """Write to a new folder atomically.

        Args:
            folder: The folder to create.
            identity: Identifies the inputs of the finding; `load` checks it.

        Raises:
            FileExistsError: If the folder exists.
        """
        if folder.exists():
            raise FileExistsError(f"{folder} exists.")
        unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, table in self.tables.items():
            table.to_parquet(unfinished / f"{name}.parquet", index=False)
        content = {
            "identity": identity,
            "view": self.view,
            "word": self.word,
            "value": _plain(self.value),
            "ci95": [_plain(end) for end in self.ci95],
            "meaning": self.meaning,
            "why": self.why,
            "figures": {name: _plain(figure) for name, figure in self.figures.items()},
            "tables": list(self.tables),
            "warnings": list(self.warnings),
        }
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        (unfinished / "finding.json").write_text(text, encoding="utf-8")
        unfinished.replace(folder)

    @classmethod
    def load(cls, folder: Path, identity: str) -> "Finding":
        """Load the finding that was saved to a folder.

        Raises:
            ValueError: If it is damaged, or was made from different inputs.
        """
        try:
            content = json.loads((folder / "finding.json").read_text(encoding="utf-8"))
            if content["identity"] != identity:
                raise ValueError(
                    "made from other models, facts or settings; move it away, or choose another "
                    "folder"
                )
            low, high = map(_number, content["ci95"])
            return cls(
                view=content["view"],
                word=content["word"],
                value=_number(content["value"]),
                ci95=(low, high),
                meaning=content["meaning"],
                why=content["why"],
                figures=content["figures"],
                tables={
                    name: pd.read_parquet(folder / f"{name}.parquet") for name in content["tables"]
                },
                warnings=tuple(content["warnings"]),
            )
        except (KeyError, TypeError, OSError, ValueError) as error:
            raise ValueError(f"{folder}: not a whole finding ({error}).") from error


def _plain(figure: Figure) -> Figure:
    return None if isinstance(figure, float) and math.isnan(figure) else figure


def _number(stored: float | None) -> float:
    return math.nan if stored is None else float(stored)
