"""What a result depends on: as plain values, and as the key that they make."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

CHUNK = 2**24
"""Bytes of a file that are hashed at once."""


@runtime_checkable
class Fingerprinted(Protocol):
    """Something that is known by its content, as a model is by its weights."""

    def fingerprint(self) -> str: ...


def plain(setting: object) -> Any:
    """A setting as JSON: a model or a file by its content, not by where it lies."""
    if isinstance(setting, Fingerprinted):
        return setting.fingerprint()
    if isinstance(setting, Path):
        # Methods that read a folder read its tables.
        content = content_of(setting, "*.parquet")
        return str(setting) if content is None else f"sha256 {content}"
    if isinstance(setting, Mapping):
        return {str(name): plain(value) for name, value in setting.items()}
    if isinstance(setting, list | tuple):
        return [plain(value) for value in setting]
    if setting is None or isinstance(setting, str | int | float | bool):
        return setting
    if is_dataclass(setting) and not isinstance(setting, type):
        return described(setting)
    return str(setting)


def described(method: object) -> dict[str, Any] | None:
    """A method by its class's name and its settings; None for no method."""
    if method is None:
        return None
    settings = fields(method) if is_dataclass(method) else ()
    values = {item.name: plain(vars(method)[item.name]) for item in settings}
    return {"name": type(method).__name__, **values}


def key_of(decides: Mapping[str, Any]) -> str:
    """SHA-256 of everything that decides a result."""
    return checksum(plain(decides))


def content_of(path: Path, pattern: str = "*") -> str | None:
    """SHA-256 of a file, or of a folder's files: their names and bytes; None if there is none.

    Args:
        pattern: Which of a folder's files count.
    """
    alone = path.is_file()
    files = [path] if alone else sorted(p for p in path.rglob(pattern) if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path.parent if alone else path)).encode("utf-8"))
        with file.open("rb") as opened:
            while chunk := opened.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest() if files else None


def checksum(content: object) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()
