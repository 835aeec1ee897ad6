"""Whether a run's files will fit on the disk."""

import shutil
from pathlib import Path

from neuronscope.models.hooked_model import HookedModel
from neuronscope.training.copies import training_dtype
from neuronscope.training.work import Work

GB = 1e9

KEPT = 4
"""What a checkpoint holds of the size of the trained parameters: these, the two that AdamW keeps of
each, and one that a regularizer remembers."""


def check_room_for_files(out: Path, source: str) -> None:
    """Refuse, before any weights are read, a disk that the training of all of them would fill.

    What is trained is in single precision, and so at least as large as its files: `check_room`
    knows better once the model is loaded.

    Args:
        source: A model; of one that is to come from the hub nothing is known.

    Raises:
        OSError: With what is needed, and what there is.
    """
    path = Path(source)
    files = [path] if path.is_file() else path.glob("*.safetensors")
    _check_free(out, (2 * KEPT + 1) * sum(file.stat().st_size for file in files))


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
    _check_free(out, needed)


def _check_free(out: Path, needed: int) -> None:
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OSError(
            f"{out} is on a disk with {free / GB:.1f} GB free, and the run needs "
            f"{needed / GB:.1f} GB for two checkpoints and the model: make room, choose another "
            "folder, or train adapters (lora_rank)."
        )
