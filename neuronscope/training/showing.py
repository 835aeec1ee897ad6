"""What a run shows while it is under way: a bar on a terminal, lines in a log."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from neuronscope.training.history import Row

Show = Callable[[list[Row]], None]
"""Is told the history so far."""

COUNTED = {
    "forget": "to be forgotten",
    "retain": "to be kept",
    "watched": "watched",
    "taught": "taught",
}
"""Facts whose answers a history counts, in words."""

COLUMNS = (
    TextColumn("training"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
    TextColumn("{task.description}"),
)


@contextmanager
def showing(steps: int, wanted: bool) -> Iterator[Show]:
    """While active, a process shows how far the run is, and how much is still answered.

    Args:
        steps: At most.
        wanted: Whether this is the process that does.
    """
    console = Console(stderr=True)
    if not wanted:
        yield lambda _: None
    elif not console.is_terminal:
        yield lambda rows: _log(console, rows[-1], steps)
    else:
        with Progress(*COLUMNS, console=console) as bar:
            task = bar.add_task("", total=steps)

            def show(rows: list[Row]) -> None:
                looked = [row for row in rows if _asked(row)]
                said = _answered(looked[-1]) if looked else ""
                bar.update(task, completed=int(rows[-1]["step"]), description=said)

            yield show


def _log(console: Console, row: Row, steps: int) -> None:
    """A line for each look at the model."""
    if _asked(row):
        console.print(f"step {row['step']:.0f} of {steps}: {_answered(row)}", soft_wrap=True)


def _asked(row: Row) -> bool:
    return any(f"answered_{name}" in row for name in COUNTED)


def _answered(row: Row) -> str:
    """Of what was looked at, how much is answered."""
    return ", ".join(
        f"{row[f'answered_{name}']:.0f} of {row[f'asked_{name}']:.0f} {said} answered"
        for name, said in COUNTED.items()
        if f"answered_{name}" in row
    )
