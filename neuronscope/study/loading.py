"""Reading studies from files, and writing them as plain values."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from neuronscope.attacks import Attack
from neuronscope.attribution import Attribution
from neuronscope.evidence import Evidence
from neuronscope.metrics import Metric
from neuronscope.objectives import Objective
from neuronscope.regularizers import Regularizer
from neuronscope.stopping import StopRule
from neuronscope.study.config import Diagnosing, Method, Study
from neuronscope.tasks.methods import ALL, NONE, Choice, flaws_of, located


def read_study(path: Path) -> Study:
    """Read a study from a TOML or JSON file, resolving relative paths against its folder.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read or is not a study; the message names the file and setting.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No study {path}: expected a TOML or JSON file.")
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
    """A study as plain values."""
    return TypeAdapter(Study).dump_python(study, mode="json")


def study_of(content: Mapping[str, Any]) -> Study:
    """A study from plain values.

    Raises:
        ValueError: If a value is invalid or missing; the message names the setting.
    """
    try:
        return TypeAdapter(Study).validate_python(dict(content))
    except ValidationError as error:
        raise ValueError("; ".join(flaws_of(error))) from error


def from_folder(study: Study, folder: Path) -> Study:
    """The same study with its relative paths resolved against a folder.

    The name of a model that is not in the folder is left unchanged: it may be a hub id.
    """
    names = {method.name for method in study.methods}

    def source(name: str) -> str:
        path = folder / name
        return str(path) if path.exists() else name

    def method(one: Method) -> Method:
        # A stop rule that matches a method of the study names no folder.
        matched = one.matches in names
        return replace(
            one,
            objective=located("objectives", one.objective, Objective, folder),
            regularizer=_optional("regularizers", one.regularizer, Regularizer, folder),
            stop=one.stop if matched else _optional("stopping", one.stop, StopRule, folder),
        )

    def diagnosing(one: Diagnosing) -> Diagnosing:
        views = (
            v if v in (ALL, NONE) else located("evidence", v, Evidence, folder) for v in one.views
        )
        attribution = located("attribution", one.attribution, Attribution, folder)
        return replace(one, attribution=attribution, views=tuple(views))

    return replace(
        study,
        model=source(study.model),
        facts=folder / study.facts,
        never_knew=None if study.never_knew is None else source(study.never_knew),
        methods=tuple(map(method, study.methods)),
        attacks=tuple(located("attacks", one, Attack, folder) for one in study.attacks),
        metrics=tuple(located("metrics", one, Metric, folder) for one in study.metrics),
        diagnosing=None if study.diagnosing is None else diagnosing(study.diagnosing),
    )


def _optional(family: str, choice: Choice | None, base: type, folder: Path) -> Choice | None:
    return None if choice is None else located(family, choice, base, folder)
