"""Results on disk: atomic writes, content keys, and resuming or refusing unfinished results.

A result is a folder. `task.json` is written first and describes everything that its numbers depend
on; `manifest.json` is written last and marks the folder as finished. In between, finished pieces
are in the folder `pieces/`. Every piece identifies its result and has a checksum, so that pieces of
a different model, different facts or different settings are never reused, whatever happened to the
files around them.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd

from neuronscope.results.arrays import read_arrays, save_arrays

TASK, MANIFEST, PIECES = "task.json", "manifest.json", "pieces"
"""The first and the last file of a result, and the folder of its pieces."""

CHUNK = 2**24
"""Bytes hashed at once."""

Arrays = dict[str, np.ndarray]


@runtime_checkable
class Fingerprinted(Protocol):
    """An object identified by its content, as a model is by its weights."""

    def fingerprint(self) -> str: ...


# What a result depends on


def plain(setting: object) -> Any:
    """A setting as JSON; models and files are identified by their content, not their location."""
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
    """A method as its class name and settings; None for no method."""
    if method is None:
        return None
    settings = fields(method) if is_dataclass(method) else ()
    values = {item.name: plain(vars(method)[item.name]) for item in settings}
    return {"name": type(method).__name__, **values}


def key_of(decides: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a result depends on."""
    text = json.dumps(plain(decides), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def content_of(path: Path, pattern: str = "*") -> str | None:
    """SHA-256 of a file, or of the names and contents of a folder's files; None without files.

    Args:
        path: The file or folder.
        pattern: Glob pattern for the files of a folder.
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


# Files that are written whole


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path for a new file or folder, which is renamed to `path` at the end.

    If the body fails, nothing remains. A file replaces an existing one; a folder must not exist.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    _remove(unfinished)
    try:
        yield unfinished
        _flush(unfinished)
        unfinished.replace(path)
    finally:
        _remove(unfinished)


def write_json(path: Path, content: object) -> None:
    """Write plain values, without NaN, to a file."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read plain values from a file.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to compute it again.") from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table to a `.parquet` file."""
    with written_whole(path) as unfinished:
        table.to_parquet(unfinished, index=False)


# A result under way


@dataclass(frozen=True)
class Workspace:
    """The folder of an unfinished result, and its key."""

    folder: Path
    key: str

    def json(self, name: str, make: Callable[[], Any]) -> Any:
        """A piece of plain values (NaN allowed): read from its file, or computed and written.

        Raises:
            ValueError: If the file is damaged or belongs to another result.
        """
        path = self._piece(f"{name}.json")
        if path.is_file():
            piece = read_json(path)
            if not isinstance(piece, dict) or piece.get("digest") != self._digest(
                name, piece.get("content")
            ):
                raise ValueError(_strange(path))
            return piece["content"]
        content = make()
        piece = {"digest": self._digest(name, content), "content": content}
        with written_whole(path) as unfinished:
            unfinished.write_text(json.dumps(piece, ensure_ascii=False), encoding="utf-8")
        return content

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """A piece of arrays: read from its file, or computed and written.

        Raises:
            ValueError: If the file is damaged or belongs to another result.
        """
        path = self._piece(f"{name}.safetensors")
        belongs: dict[str, object] = {"key": self.key, "piece": name}
        if path.is_file():
            arrays, description = read_arrays(path)
            if description != belongs:
                raise ValueError(_strange(path))
            return arrays
        arrays = make()
        with written_whole(path) as unfinished:
            save_arrays(unfinished, arrays, belongs)
        return arrays

    def delete(self) -> None:
        """Delete the folder, if the result itself is stored elsewhere."""
        _remove(self.folder)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest, which marks the result as finished, and delete the pieces."""
        write_json(self.folder / MANIFEST, plain(manifest))
        _remove(self.folder / PIECES)

    def _piece(self, file: str) -> Path:
        path = self.folder / PIECES / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _digest(self, name: str, content: object) -> str:
        text = json.dumps([self.key, name, content], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


def is_finished(folder: Path) -> bool:
    """Whether a folder contains a finished result."""
    return (folder / MANIFEST).is_file()


def check_folder(folder: Path) -> None:
    """Check that a result can be written to a folder, before anything is computed.

    Raises:
        FileExistsError: If it contains a finished result, or anything but an unfinished one.
    """
    if is_finished(folder):
        raise FileExistsError(
            f"{folder} holds a finished result: choose another folder, or move it away."
        )
    unfinished = (folder / TASK).is_file()
    if folder.exists() and not unfinished and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists, and is not empty: choose another folder.")


def open_result(folder: Path, decides: Mapping[str, Any]) -> Workspace:
    """Start a result, or resume the unfinished one in the folder.

    Args:
        folder: The folder of the result.
        decides: Everything that its numbers depend on.

    Raises:
        FileExistsError: As `check_folder`.
        ValueError: If the folder contains an unfinished result with different settings; names the
            difference.
    """
    check_folder(folder)
    now = plain(decides)
    described_in = folder / TASK
    if described_in.is_file():
        _check_same(folder, read_json(described_in), now)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(described_in, now)
    return Workspace(folder, key_of(now))


def open_pieces(file: Path, decides: Mapping[str, Any]) -> Workspace:
    """The pieces of a result that is a single file, in a folder `NAME.partial` next to it.

    Raises:
        ValueError: As `open_result`.
    """
    folder = file.with_name(f"{file.name}.partial")
    now = plain(decides)
    if (folder / TASK).is_file():
        _check_same(folder, read_json(folder / TASK), now)
    else:
        # Pieces without a description may belong to another file.
        _remove(folder)
        folder.mkdir(parents=True)
        write_json(folder / TASK, now)
    return Workspace(folder, key_of(now))


def _check_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    before, now = _flat(theirs), _flat(ours)
    for name in dict.fromkeys([*now, *before]):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{folder} holds an unfinished result of other settings: {name} was "
                f"{before.get(name)!r:.60}, and is now {now.get(name)!r:.60}. Finish it with "
                "those, or delete the folder."
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _strange(path: Path) -> str:
    return f"{path} is damaged, or belongs to another result: delete it to compute it again."


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file, or every file of a folder, to disk before it is renamed."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
