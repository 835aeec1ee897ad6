"""The command that compares a model before and after unlearning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from neuronscope.cli.command import Command


@dataclass(frozen=True)
class Figures:
    """Figures as files."""

    figures: Annotated[
        Literal["svg", "pdf", "png"] | None,
        tyro.conf.arg(metavar="{svg,pdf,png}", help_behavior_hint=""),
    ] = None
    """Write every figure of the report to a file as well, which needs the extra `export`
    (default: no files)."""

    def check(self) -> None:
        """Refuse figures that cannot be drawn.

        Raises:
            ValueError: Saying what is missing.
        """
        from neuronscope.report.drawing import check_can_draw

        if self.figures is not None:
            check_can_draw()


def show(console: Console, task: Any, diagnosis: Any, out: Path, also: Figures) -> None:
    """Print the verdict, the finding of each view, and the path of the report."""
    from neuronscope.report import reading_sentence, sentence
    from neuronscope.report.drawing import diagnosis_figures, write_figures
    from neuronscope.tasks.diagnose import REPORT

    del task
    if also.figures is not None:
        folder = out / "figures"
        drawn = write_figures(diagnosis_figures(diagnosis), folder, also.figures)
        console.print(f"figures: {len(drawn)} in {escape(str(folder))}", soft_wrap=True)
    if diagnosis.verdict is not None:
        console.print(f"\n[bold]verdict: {escape(diagnosis.verdict.word)}[/bold]")
        console.print(escape(sentence(diagnosis)))
    console.print(f"\n[bold]the attributions suggest:[/bold] {escape(diagnosis.reading)}")
    console.print(escape(reading_sentence(diagnosis)))
    for finding in diagnosis.findings:
        name = escape(finding.view.replace("_", " "))
        console.print(f"[bold]{name}:[/bold] {finding.word or ''} {escape(finding.why)}")
    for warning in diagnosis.warnings:
        console.print(f"[yellow]note:[/yellow] {escape(warning)}")
    if diagnosis.verdict is None:
        console.print(
            "No verdict: gradient attributions are first-order approximations, and no causal view "
            "was run."
        )
    console.print(
        f"report: {escape(str(out / REPORT))}  (open it in a browser; works offline)",
        soft_wrap=True,
    )


DIAGNOSE = Command("tasks/diagnose", show, also=Figures)
