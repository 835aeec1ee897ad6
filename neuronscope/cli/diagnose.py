"""The command that compares a model before and after unlearning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from neuronscope.cli.command import Command
from neuronscope.cli.wording import FigureFormat


@dataclass(frozen=True)
class Figures:
    """Figures as files."""

    figures: FigureFormat = None

    def check(self) -> None:
        """Check that figures can be written.

        Raises:
            ValueError: If something needed is not installed.
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
    console.print(f"\n[bold]attributions suggest: {escape(diagnosis.reading)}[/bold]")
    console.print(escape(reading_sentence(diagnosis)))
    for finding in diagnosis.findings:
        console.print(f"[bold]{escape(finding.title)}.[/bold] {escape(finding.why)}")
    for warning in diagnosis.warnings:
        console.print(f"[yellow]note:[/yellow] {escape(warning)}")
    if diagnosis.verdict is None:
        console.print(
            "No verdict: attributions are only first-order estimates. A verdict needs a causal "
            "view, the relearning probe (--views relearning-probe)."
        )
    console.print(
        f"report: {escape(str(out / REPORT))} (open in a browser; works offline)",
        soft_wrap=True,
    )


DIAGNOSE = Command("tasks/diagnose", show, also=Figures)
