"""Check whether a model can be loaded from its source, without reading weights."""

import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open


def check_source(source: str | Path, base: str | Path | None, allow_pickle: bool) -> None:
    """Check whether a source can be loaded, without reading weights.

    Hub ids are not looked up.

    Raises:
        FileNotFoundError: If there is no such file or directory.
        ValueError: If it is not a model, or its weights are damaged or not safetensors.
    """
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise FileNotFoundError(f"There is no file {path}.")
    elif (path / "adapter_config.json").is_file():
        _check_safetensors(path, allow_pickle)
        under = base_of(path, base)
        if not _may_be(under):
            raise FileNotFoundError(
                f"{path} is an adapter, and there is no base model {under}: pass `base`."
            )
        check_source(under, None, allow_pickle)
    elif path.is_file():
        raise ValueError(
            f"{source} is a file: expected a Hugging Face directory, a hub id, an adapter "
            "directory, or a file that ends in .gguf."
        )
    elif path.is_dir():
        if not (path / "config.json").is_file():
            raise FileNotFoundError(
                f"{source} has neither config.json nor adapter_config.json: it is not a model."
            )
        _check_safetensors(path, allow_pickle)
    elif not _may_be(source):
        raise FileNotFoundError(f"There is no model directory or .gguf file {source}.")


def check_device(device: str | None, device_map: str | None) -> None:
    """Check that a model can be put on a device.

    Raises:
        ValueError: If the device is not available, or both arguments are given.
    """
    if device is None:
        return
    if device_map is not None:
        raise ValueError("`device` and `device_map` exclude each other: pass one of them.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"No device {device!r} is available ({_line(error)}).") from error


def base_of(adapter: Path, base: str | Path | None) -> str:
    """The base model of an adapter: the one given, or the one that the adapter names.

    Raises:
        ValueError: If there is neither.
    """
    described = adapter / "adapter_config.json"
    with reading(described):
        config = dict(json.loads(described.read_text(encoding="utf-8")))
    under = str(base or config.get("base_model_name_or_path") or "")
    if not under:
        raise ValueError(f"{adapter} is an adapter that names no base model: pass `base`.")
    return under


def _may_be(source: str | Path) -> bool:
    """Whether a path exists, or the source could be a hub id: two names separated by a slash."""
    path = Path(source).expanduser()
    local = path.is_absolute() or str(source).startswith((".", "~"))
    return path.exists() or (not local and str(source).count("/") == 1)


def _check_safetensors(path: Path, allow_pickle: bool) -> None:
    files = sorted(path.glob("*.safetensors"))
    if not files and not allow_pickle:
        raise ValueError(
            f"{path} has no .safetensors file. Weights in other formats can run code when they "
            "are loaded: convert them, or set `allow_pickle` if you trust their author."
        )
    for file in files:
        try:
            # Reads only the header, and compares it with the file's length.
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged ({_line(error)}).") from error


@contextmanager
def reading(what: str | Path) -> Iterator[None]:
    """While active, turn any library's error about a broken file into a one-line message."""
    try:
        yield
    except OSError as error:
        raise FileNotFoundError(f"{what} could not be loaded ({_line(error)}).") from error
    except Exception as error:
        kind = type(error).__name__
        raise ValueError(f"{what} could not be loaded ({kind}: {_line(error)}).") from error


def _line(error: Exception) -> str:
    return textwrap.shorten(str(error), 300, placeholder=" …").rstrip(".")
