"""Studies from files, and back into plain values."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neuronscope.attacks import Attack
from neuronscope.metrics import Metric
from neuronscope.objectives import Objective
from neuronscope.regularizers import Regularizer
from neuronscope.stopping import StopRule
from neuronscope.study.config import Method, Study
from neuronscope.tasks.methods import Choice, flaws_of, located


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
    return from_folder(study, path.parent)


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


def from_folder(study: Study, folder: Path) -> Study:
    """The same study with its files found from a folder, where their paths are not absolute.

    A model that is not there is left as it is: it may be the hub's.
    """
    names = {method.name for method in study.methods}

    def source(name: str) -> str:
        there = folder / name
        return str(there) if there.exists() else name

    def method(one: Method) -> Method:
        # A stop rule that matches a method of the study names no folder.
        held = one.matches in names
        return replace(
            one,
            objective=located("objectives", one.objective, Objective, folder),
            regularizer=_optional("regularizers", one.regularizer, Regularizer, folder),
            stop=one.stop if held else _optional("stopping", one.stop, StopRule, folder),
        )

    return replace(
        study,
        model=source(study.model),
        facts=folder / study.facts,
        never_knew=None if study.never_knew is None else source(study.never_knew),
        methods=tuple(map(method, study.methods)),
        attacks=tuple(located("attacks", one, Attack, folder) for one in study.attacks),
        metrics=tuple(located("metrics", one, Metric, folder) for one in study.metrics),
    )


def _optional(family: str, choice: Choice | None, base: type, folder: Path) -> Choice | None:
    return None if choice is None else located(family, choice, base, folder)
