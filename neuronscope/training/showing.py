"""Progress of a run: a bar on a terminal, lines in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from neuronscope.display import showing_progress
from neuronscope.results.history import Row

Show = Callable[[list[Row]], None]
"""Shows the history so far."""

COUNTED = {
    "forget": "forget facts",
    "retain": "retain facts",
    "watched": "watched facts",
    "taught": "training facts",
}
"""Descriptions of the facts whose answers a history counts, by suffix of their columns."""


@contextmanager
def showing(steps: int, wanted: bool) -> Iterator[Show]:
    """While active, show the current step and the answers counted in the last evaluation.

    Args:
        steps: Maximum number of steps.
        wanted: Whether this process shows progress.
    """
    with showing_progress("training", wanted) as progress:

        def show(rows: list[Row]) -> None:
            evaluated = [row for row in rows if _is_evaluated(row)]
            answers = _answers(evaluated[-1]) if evaluated else ""
            progress(int(rows[-1]["step"]), steps, answers)

        yield show


def _is_evaluated(row: Row) -> bool:
    return any(f"answered_{name}" in row for name in COUNTED)


def _answers(row: Row) -> str:
    """How many facts of each kind were answered in an evaluation."""
    return ", ".join(
        f"{row[f'answered_{name}']:.0f} of {row[f'asked_{name}']:.0f} {words} answered"
        for name, words in COUNTED.items()
        if f"answered_{name}" in row
    )
