"""What a run shows while it is under way: a bar on a terminal, lines in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from neuronscope.display import showing_progress
from neuronscope.results.history import Row

Show = Callable[[list[Row]], None]
"""Is told the history so far."""

COUNTED = {
    "forget": "to be forgotten",
    "retain": "to be kept",
    "watched": "watched",
    "taught": "taught",
}
"""Facts whose answers a history counts, in words."""


@contextmanager
def showing(steps: int, wanted: bool) -> Iterator[Show]:
    """While active, a process shows how far the run is, and how much is still answered.

    Args:
        steps: At most.
        wanted: Whether this is the process that does.
    """
    with showing_progress("training", wanted) as progress:

        def show(rows: list[Row]) -> None:
            looked = [row for row in rows if _asked(row)]
            said = _answered(looked[-1]) if looked else ""
            progress(int(rows[-1]["step"]), steps, said)

        yield show


def _asked(row: Row) -> bool:
    return any(f"answered_{name}" in row for name in COUNTED)


def _answered(row: Row) -> str:
    """Of what was looked at, how much is answered."""
    return ", ".join(
        f"{row[f'answered_{name}']:.0f} of {row[f'asked_{name}']:.0f} {said} answered"
        for name, said in COUNTED.items()
        if f"answered_{name}" in row
    )
