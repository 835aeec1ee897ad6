"""The command that converts a model to a Hugging Face directory."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from neuronscope.cli.command import Command


def show(console: Console, task: Any, notes: tuple[str, ...], out: Path, also: Any) -> None:
    """Print the notes from loading the model, and the folder of the copy."""
    del task, also
    for note in notes:
        console.print(escape(note))
    console.print(f"written and compared with the source: {escape(str(out))}", soft_wrap=True)


CONVERT = Command("tasks/convert", show, positional=("model", "out"), out="Directory to write.")
