"""Studies from files, and back into plain values."""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neuronscope.study.config import Study
from neuronscope.study.making import flaws_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]


def read_study(path: Path) -> Study:
    """The study that a TOML or JSON file describes; paths in it are relative to the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or describes no study; names the file and the place.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no study {path}: expected a TOML or JSON file.")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: {error}.") from error
    try:
        study = study_of(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return _from_folder(study, path.parent)


def plain_study(study: Study) -> dict[str, Any]:
    """A study as the plain values that describe it."""
    return TypeAdapter(Study).dump_python(study, mode="json")


def study_of(content: Mapping[str, Any]) -> Study:
    """The study that plain values describe.

    Raises:
        ValueError: If they describe none; names the place.
    """
    try:
        return TypeAdapter(Study).validate_python(dict(content))
    except ValidationError as error:
        raise ValueError("; ".join(flaws_of(error))) from error


def _from_folder(study: Study, folder: Path) -> Study:
    """The study with its files found from the folder of its own file."""

    def found(source: str) -> str:
        there = folder / source
        return str(there) if there.exists() else source

    never = None if study.never_knew is None else found(study.never_knew)
    return replace(
        study, model=found(study.model), facts=Path(found(str(study.facts))), never_knew=never
    )
