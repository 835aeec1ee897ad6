"""The commands that train a model."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from neuronscope.cli.command import Command


def show_unlearned(console: Console, task: Any, run: Any, out: Path, also: Any) -> None:
    """Print the outcome of unlearning, and the command that diagnoses it."""
    show_finetuned(console, task, run, out, also)
    console.print(
        "next: neuronscope diagnose "
        f"--before {escape(str(task.model))} --after {escape(str(out / 'model'))} "
        f"--facts {escape(str(task.facts))} --out FOLDER",
        soft_wrap=True,
    )


def show_finetuned(console: Console, task: Any, run: Any, out: Path, also: Any) -> None:
    """Print the outcome of training."""
    del task, also
    for line in summary(run):
        console.print(escape(line))
    console.print(f"model: {escape(str(out / 'model'))}", soft_wrap=True)


def summary(run: Any) -> tuple[str, ...]:
    """The outcome of training, in a few lines."""
    from neuronscope.analysis.statistics import wilson_interval
    from neuronscope.training import COUNTED

    first, last = run.history.iloc[0], run.history.iloc[-1]
    lines = [run.stopped]
    for split, words in COUNTED.items():
        if not first.get(f"asked_{split}", 0) > 0:
            continue
        facts, before, after = (
            int(row[f"{what}_{split}"])
            for row, what in ((first, "asked"), (first, "answered"), (last, "answered"))
        )
        low, high = wilson_interval(after, facts)
        lines.append(
            f"{words} answered: {before} of {facts} before, {after} of {facts} after (95 % "
            f"interval {low:.0%} to {high:.0%})"
        )
    lines.append(f"update norm: {last['update_norm']:.4g}; time: {run.seconds:.0f} s")
    return tuple(lines)


UNLEARN = Command("tasks/unlearn", show_unlearned, positional=("model", "objective"))
FINETUNE = Command("tasks/finetune", show_finetuned, positional=("model",))
