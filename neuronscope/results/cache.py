"""Results on disk: atomic writes, content keys, and resuming or rejecting unfinished results.

A result is a folder. `task.json` is written first and describes everything that its numbers depend
on; `manifest.json` is written last and marks the folder as finished. In between, finished pieces
are in the folder `pieces/`. Every piece identifies its result and has a checksum, so that pieces of
a different model, different facts or different settings are never reused, whatever happened to the
files around them.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuronscope.results._keys import checksum, key_of, plain
from neuronscope.results._keys import content_of as content_of
from neuronscope.results._keys import described as described
from neuronscope.results._keys import file_checksum as file_checksum
from neuronscope.results.arrays import read_arrays, save_arrays

TASK, MANIFEST, PIECES = "task.json", "manifest.json", "pieces"
"""The first and the last file of a result, and the folder of its pieces."""

PARTIAL = ".partial"
"""Suffix of the folder that holds the pieces of a single file."""

UNFINISHED = re.compile(r"\..+\.\d+")
"""Temporary names of files and folders; a killed process leaves these behind."""

Arrays = dict[str, np.ndarray]


# Atomic writes


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
        raise ValueError(_damaged(path, str(error))) from error


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table to a `.parquet` file."""
    with written_whole(path) as unfinished:
        table.to_parquet(unfinished, index=False)


def write_sealed(path: Path, content: object, key: str) -> None:
    """Write plain values (NaN allowed) with their result's key and a checksum."""
    # Hash what will be read: JSON has no tuples, and only strings as keys.
    sealed = json.loads(json.dumps({"key": key, "content": content}))
    text = json.dumps(sealed | {"sha256": checksum(sealed)}, indent=1, ensure_ascii=False)
    with written_whole(path) as unfinished:
        unfinished.write_text(text + "\n", encoding="utf-8")


def read_sealed(path: Path, key: str) -> Any:
    """The values that `write_sealed` wrote for this key.

    Raises:
        ValueError: If the file is damaged or has a different key.
    """
    sealed = read_json(path)
    if not isinstance(sealed, dict) or sealed.pop("sha256", None) != checksum(sealed):
        raise ValueError(_damaged(path, "its checksum does not match"))
    if sealed["key"] != key:
        raise ValueError(_foreign(path))
    return sealed["content"]


# Unfinished results


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
        path, key = self._piece(f"{name}.json"), f"{self.key} {name}"
        if not path.is_file():
            write_sealed(path, make(), key)
        return read_sealed(path, key)

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
                raise ValueError(_foreign(path))
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
        # A process killed after writing a file leaves the pieces of that file behind.
        for pieces in (self.folder / PIECES, *self.folder.glob(f"*{PARTIAL}")):
            _remove(pieces)

    def _piece(self, file: str) -> Path:
        path = self.folder / PIECES / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def is_finished(folder: Path) -> bool:
    """Whether a folder contains a finished result."""
    return (folder / MANIFEST).is_file()


def check_folder(folder: Path) -> None:
    """Check that a result can be written to a folder, before anything is computed.

    Raises:
        FileExistsError: If it contains a finished result, or files that belong to no result.
    """
    if is_finished(folder):
        raise FileExistsError(
            f"{folder} holds a finished result: choose another folder, or move this one."
        )
    if folder.exists() and not (folder / TASK).is_file() and not _is_empty(folder):
        raise FileExistsError(f"{folder} exists and is not empty: choose another folder.")


def check_result(folder: Path, decides: Mapping[str, Any]) -> None:
    """Check that this result can begin or resume in a folder; write nothing.

    Raises:
        FileExistsError: As `check_folder`.
        ValueError: If the folder holds a different unfinished result; the message says what
            differs.
    """
    check_folder(folder)
    if (folder / TASK).is_file():
        _check_same(folder, read_json(folder / TASK), plain(decides))


def open_result(folder: Path, decides: Mapping[str, Any]) -> Workspace:
    """Start a result, or resume the unfinished one in the folder.

    Args:
        folder: The folder of the result.
        decides: Everything that its numbers depend on.

    Raises:
        FileExistsError: As `check_folder`.
        ValueError: As `check_result`.
    """
    now = plain(decides)
    check_result(folder, now)
    for path in list(folder.rglob(".*")):
        if UNFINISHED.fullmatch(path.name):
            _remove(path)
    if not (folder / TASK).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / TASK, now)
    return Workspace(folder, key_of(now))


def open_pieces(file: Path, decides: Mapping[str, Any]) -> Workspace:
    """The pieces of a result that is a single file, in a folder `NAME.partial` next to it.

    Raises:
        ValueError: As `check_result`.
    """
    folder = file.with_name(f"{file.name}{PARTIAL}")
    if not (folder / TASK).is_file():
        # Pieces without a description may belong to another file.
        _remove(folder)
    return open_result(folder, decides)


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds nothing but a description that a killed process left unfinished."""
    if not folder.is_dir():
        return False
    begun = f".{TASK}."
    return all(p.name.startswith(begun) and UNFINISHED.fullmatch(p.name) for p in folder.iterdir())


def _check_same(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    before, now = _flat(theirs), _flat(ours)
    for name in dict.fromkeys([*now, *before]):
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{folder} holds an unfinished result with different settings: {name} was "
                f"{before.get(name)!r:.60} and is now {now.get(name)!r:.60}. Finish it with its "
                "own settings, or delete the folder."
            )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value:
            places = {str(place): one for place, one in enumerate(value)}
            flat |= _flat(places, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _damaged(path: Path, why: str) -> str:
    return f"{path} is damaged ({why}): delete it to compute it again."


def _foreign(path: Path) -> str:
    return (
        f"{path} was computed from different models, facts or settings: delete it to compute it "
        "again, or choose another folder."
    )


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
