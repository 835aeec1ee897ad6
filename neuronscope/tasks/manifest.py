"""How a result was computed, so that it can be reproduced."""

import importlib.metadata
import platform
import sys
import time

import torch

PACKAGES = (
    "neuronscope", "torch", "transformers", "transformer-lens", "accelerate", "peft", "numpy",
    "scipy",
)  # fmt: skip


def describe(began: float) -> dict[str, object]:
    """Command, versions, devices and duration of the running process, as plain JSON values.

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
