"""Named arrays and a description in one `.safetensors` file with a checksum.

Equal content gives equal bytes. A checksum over arrays and description is verified on reading.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

KEY = "neuronscope"
# safetensors writes metadata in hash order, which differs between runs, hence a single key.

DTYPES = {"F32": "float32", "F64": "float64", "BOOL": "bool"}
"""The dtypes of a recording's arrays, by their names in safetensors and NumPy."""


def save_arrays(path: Path, arrays: dict[str, np.ndarray], description: dict[str, object]) -> None:
    """Write `arrays` and `description` (plain JSON values) to `path`, a `.safetensors` file.

    For an atomic write, call this within `cache.written_whole`.
    """
    # safetensors writes the memory of a strided view as is, which would be a different array.
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    text = json.dumps(description | {"sha256": _checksum(arrays, description)}, allow_nan=False)
    save_file(arrays, path, metadata={KEY: text})
    path.chmod(0o644)  # safetensors makes its files readable by their owner only


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """Read the arrays and the description that `save_arrays` wrote to `path`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or was not written by `save_arrays`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"'{path}' is not a file; create it with `neuronscope record`.")
    try:
        with safe_open(path, framework="numpy") as file:
            description = _parse(path, file.metadata())
            names = sorted(file.keys())
            _check_dtypes(path, {name: file.get_slice(name).get_dtype() for name in names})
            arrays = {name: file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete .safetensors file ({error}).") from error
    if description.pop("sha256", None) != _checksum(arrays, description):
        raise ValueError(f"{path}: the checksum does not match; the file was changed.")
    return arrays, description


def _parse(path: Path, metadata: dict[str, str] | None) -> dict[str, object]:
    if metadata is None or KEY not in metadata:
        raise ValueError(f"{path}: metadata: no '{KEY}' entry; not a neuronscope recording.")
    try:
        description = json.loads(metadata[KEY])
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: metadata: '{KEY}' is not JSON ({error}).") from error
    if not isinstance(description, dict):
        raise ValueError(
            f"{path}: metadata: expected '{KEY}' to be a JSON object, got {description!r:.40}."
        )
    return description


def _check_dtypes(path: Path, dtypes: dict[str, str]) -> None:
    for name, dtype in dtypes.items():
        if dtype not in DTYPES:
            raise ValueError(
                f"{path}: tensor '{name}': expected one of {', '.join(DTYPES)}, got {dtype}."
            )


def _checksum(arrays: dict[str, np.ndarray], description: dict[str, object]) -> str:
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.data)
    return digest.hexdigest()
