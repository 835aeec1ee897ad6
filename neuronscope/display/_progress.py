"""Progress with the remaining time: a bar in a terminal, text in a notebook, lines in a log.

Notebooks show standard error in red, and widgets need a package that is often missing. There,
progress is one line of plain text that is updated in place.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

Progress = Callable[[int, int], None]
"""Called with the number of steps done and the total number of steps."""

LOG_SECONDS = 60.0
"""Minimum number of seconds between two lines in a log, unless the note changes."""

NOTEBOOK_SECONDS = 0.2
"""Minimum number of seconds between two updates in a notebook."""


@runtime_checkable
class Show(Protocol):
    """A `Progress` that also takes a note."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def no_progress(done: int, total: int) -> None:
    """Ignore progress."""
    del done, total


def _nothing(done: int, total: int, note: str = "") -> None:
    del done, total, note


def say(text: str, wanted: bool = True) -> None:
    """Show one line of text: as plain text in a notebook, elsewhere on standard error."""
    if not wanted:
        return
    if _in_notebook():
        _show_in_notebook(text)
    else:
        sys.stderr.write(f"{text}\n")


@contextmanager
def showing_progress(what: str, wanted: bool = True) -> Iterator[Show]:
    """While active, show the progress of one piece of work.

    Args:
        what: The work, in a few words.
        wanted: Whether to show anything.
    """
    if not wanted:
        yield _nothing
    elif _in_notebook():
        yield _in_text(what, NOTEBOOK_SECONDS, False, _updated())
    elif sys.stderr.isatty():
        with _bar(what) as show:
            yield show
    else:
        yield _in_text(what, LOG_SECONDS, True, say)


@contextmanager
def _bar(what: str) -> Iterator[Show]:
    # Imported here: every module may import this one, and importing rich takes a while.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None, note="")

        def show(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, note=note)

        yield show
        if bar.tasks[0].total is None:
            show(1, 1)


def _in_text(what: str, seconds: float, notes_at_once: bool, write: Callable[[str], None]) -> Show:
    """Progress as lines of text.

    Args:
        seconds: The minimum time between two lines; the last step is shown immediately.
        notes_at_once: Whether new notes are also shown immediately.
    """
    began = time.monotonic()
    last, shown, finished = began, "", False

    def show(done: int, total: int, note: str = "") -> None:
        nonlocal last, shown, finished
        now = time.monotonic()
        ended = done >= total and not finished
        changed = notes_at_once and note != shown
        if not (ended or changed or now - last >= seconds):
            return
        last, shown, finished = now, note, done >= total
        left = f", {_left(now - began, done, total)} left" if 0 < done < total else ""
        write(f"{what}: {done} of {total}{left}" + (f"; {note}" if note else ""))

    return show


def _left(passed: float, done: int, total: int) -> str:
    """The time left if the remaining steps take as long as those done."""
    return str(timedelta(seconds=round(passed / done * (total - done))))


def _in_notebook() -> bool:
    """Whether this process is a Jupyter kernel, without importing IPython unless it is loaded."""
    if "ipykernel.zmqshell" not in sys.modules:
        return False
    from IPython import get_ipython

    return isinstance(get_ipython(), sys.modules["ipykernel.zmqshell"].ZMQInteractiveShell)


def _show_in_notebook(text: str, **place: Any) -> Any:
    from IPython.display import display

    return display({"text/plain": text}, raw=True, **place)


def _updated() -> Callable[[str], None]:
    """A function that replaces the previous line by a new one."""
    handle = None

    def write(text: str) -> None:
        nonlocal handle
        if handle is None:
            handle = _show_in_notebook(text, display_id=True)
        else:
            handle.update({"text/plain": text}, raw=True)

    return write
