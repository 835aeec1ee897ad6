"""The history, row by row, to a tracker that Accelerate knows: tensorboard, wandb, trackio, ..."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers, get_available_trackers
from accelerate.utils import LoggerType

from neuronscope.results.history import Row

PROJECT = "neuronscope"
"""What trackers call it."""


def check_tracker(name: str | None, folder: Path | None) -> None:
    """Refuse a tracker that is not there.

    Raises:
        ValueError: If there is none of that name, it is not installed, or it wants a folder.
    """
    if name is None:
        return
    if name not in LOGGER_TYPE_TO_CLASS:
        known = ", ".join(sorted(map(str, LOGGER_TYPE_TO_CLASS)))
        raise ValueError(f"Accelerate knows no tracker {name!r}: it knows {known}.")
    if folder is None and LOGGER_TYPE_TO_CLASS[name].requires_logging_directory:
        raise ValueError(f"The tracker {name!r} writes into the run's folder: give one (out).")
    # Others were registered, and are there.
    if name in map(str, LoggerType) and name not in map(str, get_available_trackers()):
        raise ValueError(f"The tracker {name!r} is not installed: pip install {name}.")


@contextmanager
def tracking(accelerator: Accelerator, name: str | None, folder: Path | None) -> Iterator[None]:
    """While active, `accelerator.log` writes to the tracker.

    Raises:
        ValueError: If it cannot begin, with what it says.
    """
    if name is None:
        yield
        return
    accelerator.project_configuration.logging_dir = str(folder)
    accelerator.log_with = filter_trackers([name], str(folder))
    try:
        accelerator.init_trackers(PROJECT if folder is None else folder.name)
    except Exception as error:
        said = " ".join(str(error).split())
        raise ValueError(f"The tracker {name!r} cannot begin: {said}") from error
    try:
        yield
    finally:
        accelerator.end_training()


def logged(row: Row) -> dict[str, float]:
    """What a tracker is told of a step."""
    return {column: value for column, value in row.items() if column != "step"}
