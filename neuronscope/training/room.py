"""Check that the files of a run will fit on the disk."""

import shutil
from pathlib import Path

from neuronscope.models.hooked_model import HookedModel
from neuronscope.training.copies import training_dtype
from neuronscope.training.work import Work

GB = 1e9

KEPT = 4
"""Size of a checkpoint in units of the trained parameters: the parameters, the two moments of
AdamW, and one copy in the memory of a regularizer."""


def check_room_for_files(out: Path, source: str) -> None:
    """Raise, before any weights are read, if training all of them would fill the disk.

    Trained parameters are in single precision and thus at least as large as their files. Once the
    model is loaded, `check_room` repeats the check with the parameters that are trained.

    Args:
        source: A model. The size of a model on the hub is unknown and counts as 0.

    Raises:
        OSError: If the free space is too small; the message gives it and the required space.
    """
    path = Path(source)
    files = [path] if path.is_file() else path.glob("*.safetensors")
    _check_free(out, (2 * KEPT + 1) * sum(file.stat().st_size for file in files))


def check_room(out: Path, model: HookedModel, work: Work) -> None:
    """Raise if the checkpoints and the model would fill the disk.

    While a checkpoint is written, two of them exist.

    Raises:
        OSError: As `check_room_for_files`.
    """
    trained = sum(p.numel() * p.element_size() for p in work.parameters.values())
    width = training_dtype(model.hf).itemsize
    whole = sum(p.numel() * width for p in model.hf.parameters())
    needed = 2 * KEPT * trained + (whole if work.adapted is None else trained)
    _check_free(out, needed)


def _check_free(out: Path, needed: int) -> None:
    existing = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise OSError(
            f"The disk of {out} has {free / GB:.1f} GB free, but the run needs "
            f"{needed / GB:.1f} GB for two checkpoints and the model; free some space, choose a "
            "different folder, or train adapters (lora_rank)."
        )
