"""How a result was made, for whoever wants to make it again, and files written whole."""

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from pathlib import Path

import torch

PACKAGES = (
    "neuronscope", "torch", "transformers", "transformer-lens", "accelerate", "peft", "numpy",
    "scipy",
)  # fmt: skip


PIECE = 2**24
"""Bytes of a file that are hashed at once."""


def describe(began: float) -> dict[str, object]:
    """Command, versions, devices and seconds of the running process, as plain JSON values.

    Args:
        began: `time.time()` at the start.
    """
    return {
        "command": ["neuronscope", *sys.argv[1:]],
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        or ["cpu"],
        "seconds": round(time.time() - began, 1),
    }


def content_of(path: Path, pattern: str = "*") -> str | None:
    """A hash of a file, or of a folder's files: their names and bytes; None if there is none.

    Args:
        pattern: Which of a folder's files count.
    """
    alone = path.is_file()
    files = [path] if alone else sorted(p for p in path.rglob(pattern) if p.is_file())
    whole = hashlib.sha256()
    for file in files:
        whole.update(str(file.relative_to(path.parent if alone else path)).encode("utf-8"))
        with file.open("rb") as opened:
            while piece := opened.read(PIECE):
                whole.update(piece)
    return whole.hexdigest() if files else None


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    unfinished.replace(path)
