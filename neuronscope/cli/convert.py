"""The command that writes a model as a Hugging Face directory."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from neuronscope.cli.command import Command


def show(console: Console, task: Any, notes: tuple[str, ...], out: Path, also: Any) -> None:
    """Say what was done to the model."""
    del task, also
    for note in notes:
        console.print(escape(note))
    console.print(f"written, loaded again and compared: {escape(str(out))}", soft_wrap=True)


CONVERT = Command("tasks/convert", show, positional=("model", "out"), out="The directory to write.")
