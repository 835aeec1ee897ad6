"""Log the history row by row to a tracker of Accelerate: tensorboard, wandb, trackio, ..."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, filter_trackers, get_available_trackers
from accelerate.utils import LoggerType

from neuronscope.results.history import Row

PROJECT = "neuronscope"
"""Project name in the tracker for a run without a folder."""


def check_tracker(name: str | None, folder: Path | None) -> None:
    """Check that a tracker is available.

    Raises:
        ValueError: If Accelerate has no tracker of that name, it is not installed, or it needs a
            folder.
    """
    if name is None:
        return
    if name not in LOGGER_TYPE_TO_CLASS:
        known = ", ".join(sorted(map(str, LOGGER_TYPE_TO_CLASS)))
        raise ValueError(f"Expected `tracker` to be one of {known}, got {name!r}.")
    if folder is None and LOGGER_TYPE_TO_CLASS[name].requires_logging_directory:
        raise ValueError(
            f"The tracker {name!r} writes into the run's folder; set `out` to a folder."
        )
    # Trackers registered by the user are available but not among Accelerate's own types.
    if name in map(str, LoggerType) and name not in map(str, get_available_trackers()):
        raise ValueError(f"The tracker {name!r} is not installed; run `pip install {name}`.")


@contextmanager
def tracking(accelerator: Accelerator, name: str | None, folder: Path | None) -> Iterator[None]:
    """While active, `accelerator.log` writes to the tracker.

    Raises:
        ValueError: If the tracker fails to start, with its message.
    """
    if name is None:
        yield
        return
    accelerator.project_configuration.logging_dir = str(folder)
    accelerator.log_with = filter_trackers([name], str(folder))
    try:
        accelerator.init_trackers(PROJECT if folder is None else folder.name)
    except Exception as error:
        message = " ".join(str(error).split())
        raise ValueError(f"The tracker {name!r} failed to start: {message}") from error
    try:
        yield
    finally:
        accelerator.end_training()


def logged(row: Row) -> dict[str, float]:
    """The values of a step to log."""
    return {column: value for column, value in row.items() if column != "step"}
