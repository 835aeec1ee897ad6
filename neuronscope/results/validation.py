"""Check dataclasses against their annotations: axes, precision, finiteness, JSON types."""

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


def check_shapes(
    kind: type, arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int], place: str = ""
) -> None:
    """Check precision and axes of arrays against the annotations of the dataclass `kind`.

    Axes with the same name have the same size. A `group` is a layer or all layers, so its size is 1
    or that of `layer`.

    Args:
        kind: The annotated dataclass.
        arrays: Its arrays by field name.
        sizes: Known sizes by axis name.
        place: Prefix for field names in errors.

    Raises:
        ValueError: If an array does not match; the message names the field.
    """
    known = dict(sizes)
    for field in fields(kind):
        if field.name not in arrays:
            continue
        array, where = arrays[field.name], f"{place}{field.name}"
        annotation: Any = field.type
        allowed = {"float32", "float64", "bool"} & set(annotation.dtypes)
        if array.dtype.name not in allowed:
            raise ValueError(
                f"{where}: expected {' or '.join(sorted(allowed))}, got {array.dtype.name}"
            )
        axes = annotation.dim_str.split()
        if array.ndim != len(axes) or 0 in array.shape:
            raise ValueError(f"{where}: expected axes ({', '.join(axes)}), got {array.shape}")
        for axis, size in zip(axes, array.shape, strict=True):
            if known.setdefault(axis, size) != size:
                raise ValueError(f"{where}: expected {known[axis]} along {axis}, got {size}")
    if "group" in known and known["group"] not in (1, known["layer"]):
        raise ValueError(
            f"{place}baseline_score: expected 1 group or {known['layer']} (one for each layer), "
            f"got {known['group']}"
        )


def check_finite(
    arrays: Mapping[str, np.ndarray], nan_allowed: Sequence[str] = (), place: str = ""
) -> None:
    """Check that arrays contain no infinity, and NaN only if `nan_allowed` lists them.

    Raises:
        ValueError: If one does; the message names the array and the indices of the entry.
    """
    for name, array in arrays.items():
        wrong = np.isinf(array) if name in nan_allowed else ~np.isfinite(array)
        if wrong.any():
            index = [int(axis[0]) for axis in np.nonzero(wrong)]
            raise ValueError(f"{place}{name}: {array[tuple(index)]} at {index}, expected a number")


def from_json(kind: type[T], stored: object, place: str) -> T:
    """Build an instance of the dataclass `kind` from a JSON object with exactly its fields.

    Raises:
        ValueError: If a field is missing, unknown or of the wrong type; the message names it.
    """
    if not isinstance(stored, dict):
        raise ValueError(f"{place}: expected an object, got {stored!r:.40}")
    wanted = {field.name: field for field in fields(typing.cast(Any, kind))}
    missing = {name for name, field in wanted.items() if field.default is MISSING} - set(stored)
    if missing or set(stored) - set(wanted):
        problem = "missing" if missing else "unknown"
        raise ValueError(f"{place}: {problem} {min(missing or set(stored) - set(wanted))!r}")
    values = {}
    for name, value in stored.items():
        annotation: Any = wanted[name].type
        if not _fits(value, annotation):
            raise ValueError(f"{place}.{name}: expected {_name(annotation)}, got {value!r:.40}")
        values[name] = tuple(value) if typing.get_origin(annotation) is tuple else value
    return kind(**values)


def _fits(value: object, annotation: Any) -> bool:
    """Whether a JSON value has the annotated type; a tuple is a list in JSON."""
    inner = typing.get_args(annotation)
    match typing.get_origin(annotation):
        case None:
            return annotation is object or type(value) is annotation
        case types.UnionType:
            return any(_fits(value, option) for option in inner)
        case origin if origin is tuple:
            return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
        case _:
            return isinstance(value, dict) and all(_fits(item, inner[1]) for item in value.values())


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
