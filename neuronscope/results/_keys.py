"""What a result depends on, as plain values and as a key computed from them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Fingerprinted(Protocol):
    """An object identified by its content, such as a model by its weights."""

    def fingerprint(self) -> str: ...


def plain(setting: object) -> Any:
    """A setting as JSON; models, files and arrays are represented by a hash of their content."""
    if isinstance(setting, Fingerprinted):
        return setting.fingerprint()
    if isinstance(setting, Path):
        # Methods that take a folder read only its tables.
        content = content_of(setting, "*.parquet")
        return str(setting) if content is None else f"sha256 {content}"
    if isinstance(setting, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(setting).tobytes()).hexdigest()
        return f"sha256 {content} {setting.dtype} {setting.shape}"
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
    """The name of a method's class, and its settings; None for None."""
    if method is None:
        return None
    settings = fields(method) if is_dataclass(method) else ()
    values = {item.name: plain(vars(method)[item.name]) for item in settings}
    return {"name": type(method).__name__, **values}


def key_of(decides: Mapping[str, Any]) -> str:
    """SHA-256 of everything that determines a result."""
    return checksum(plain(decides))


def content_of(path: Path, pattern: str = "*") -> str | None:
    """SHA-256 of a file, or of the names and bytes of a folder's files; None if there is no file.

    Args:
        pattern: The files of a folder to include.
    """
    alone = path.is_file()
    files = [path] if alone else sorted(p for p in path.rglob(pattern) if p.is_file())
    states = [file.stat() for file in files]
    known = tuple((f, s.st_size, s.st_mtime_ns) for f, s in zip(files, states, strict=True))
    return _content(path.parent if alone else path, known) if files else None


@lru_cache(maxsize=64)
def _content(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> str:
    """SHA-256 of files in a folder; computed again only if a size or modification time changes."""
    return checksum([(str(file.relative_to(folder)), file_checksum(file)) for file, _, _ in files])


def file_checksum(file: Path) -> str:
    """SHA-256 of a file's bytes."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def checksum(content: object) -> str:
    """SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8")).hexdigest()
