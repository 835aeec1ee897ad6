"""The command that records one model's neurons."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from neuronscope.cli.command import Command


def show(console: Console, task: Any, recording: Any, out: Path, also: Any) -> None:
    """Print a summary of the recording, and its path."""
    from neuronscope.tasks.record import RECORDING

    del task, also
    console.print(
        f"{len(recording.fact_ids)} facts, {int(recording.answered.sum())} answered, "
        f"mean {recording.provenance.target} {recording.score.mean():+.3f} "
        f"{recording.provenance.unit}"
    )
    console.print(f"recording: {escape(str(out / RECORDING))}", soft_wrap=True)


RECORD = Command("tasks/record", show, positional=("model",))
