"""Whether a run's files will fit on the disk."""

import shutil
from pathlib import Path

from neuronscope.models import HookedModel
from neuronscope.training.copies import training_dtype
from neuronscope.training.work import Work

GB = 1e9

KEPT = 4
"""What a checkpoint holds of the size of the trained parameters: these, the two that AdamW keeps of
each, and one that a regularizer remembers."""


def check_room(out: Path, model: HookedModel, work: Work) -> None:
    """Refuse a disk that the checkpoints and the model would fill.

    Two checkpoints lie side by side while one is written.

    Raises:
        OSError: With what is needed, and what there is.
    """
    trained = sum(p.numel() * p.element_size() for p in work.parameters.values())
    width = training_dtype(model.hf).itemsize
    whole = sum(p.numel() * width for p in model.hf.parameters())
    needed = 2 * KEPT * trained + (whole if work.adapted is None else trained)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise OSError(
            f"{out} is on a disk with {free / GB:.1f} GB free, and the run needs up to "
            f"{needed / GB:.1f} GB for two checkpoints and the model: make room, choose another "
            "folder, or train adapters (lora_rank)."
        )
