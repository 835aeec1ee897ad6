"""How a result was made, for whoever wants to make it again, and files written whole."""

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


def write_json(path: Path, content: dict[str, object]) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(
        json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
    unfinished.replace(path)
