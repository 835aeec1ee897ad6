"""Commands that look at a model, or at two."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape

from neuronscope._discover import method_names
from neuronscope.tasks.options import MethodOptions, ModelOptions

METHODS = tuple(name.replace("_", "-") for name in method_names("attribution"))


@dataclass(frozen=True)
class Diagnose:
    """Was it erased, or only hidden? Compare a model before and after unlearning."""

    before: str
    """The model before unlearning: HF directory, hub id, adapter directory, or .gguf file."""

    after: str
    """The model after unlearning."""

    facts: Path
    """The facts: a file or folder, in any format that `neuronscope list` names."""

    out: Path
    """Folder for the result. An interrupted diagnosis goes on where it was."""

    split: str = "forget"
    """The split under judgement."""

    null_facts: int | None = None
    """How many facts that were not to be forgotten show what happens by chance (default: as many
    as are under judgement, at most 8)."""

    seed: int = 0
    """Seed of the choice of those facts."""

    attribution: Annotated[str, tyro.conf.arg(metavar="|".join(METHODS))] = "integrated-gradients"
    """How influence is measured."""

    views: tuple[str, ...] = ("all",)
    """Which of the causes are tested, by name: savings, on which the verdict rests, spectrum,
    rebound, silencing, lens, exactness; all has the weight path too, none leaves them out. Savings
    is a small part of what all take. Tested where both checkpoints have the same shapes."""

    figures: Literal["svg", "pdf", "png"] | None = None
    """Write every figure of the report to a file as well (needs the extra `export`)."""

    method: MethodOptions = field(default_factory=MethodOptions)
    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Diagnose, and say where the report is."""
        from neuronscope.report import reading_sentence, sentence
        from neuronscope.report.drawing import check_can_draw, diagnosis_figures, write_figures
        from neuronscope.tasks.diagnosing import diagnose_checkpoints

        if self.figures is not None:
            check_can_draw()
        done = diagnose_checkpoints(
            self.before,
            self.after,
            self.facts,
            self.out,
            self.split,
            self.null_facts,
            self.seed,
            self.attribution,
            self.views,
            self.method,
            self.loading,
        )
        diagnosis = done.diagnosis
        if self.figures is not None:
            folder = self.out / "figures"
            drawn = write_figures(diagnosis_figures(diagnosis), folder, self.figures)
            console.print(f"figures: {len(drawn)} in {escape(str(folder))}", soft_wrap=True)
        console.print(f"\n[bold]reading: {escape(diagnosis.reading)}[/bold]")
        console.print(escape(reading_sentence(diagnosis)))
        for finding in diagnosis.findings:
            name = escape(finding.view.replace("_", " "))
            console.print(f"[bold]{name}:[/bold] {finding.word or ''} {escape(finding.why)}")
        for warning in diagnosis.warnings:
            console.print(f"[yellow]note:[/yellow] {escape(warning)}")
        if diagnosis.verdict is None:
            console.print(
                "This is a reading of gradient attributions, first-order opinions until their "
                "causes are tested; it is no verdict."
            )
        else:
            console.print(f"\n[bold]verdict: {escape(diagnosis.verdict.word)}[/bold]")
            console.print(escape(sentence(diagnosis)))
        console.print(
            f"report: {escape(str(done.report))}  (open it in a browser; works offline)",
            soft_wrap=True,
        )


@dataclass(frozen=True)
class Record:
    """Record one model's neurons on a set of facts."""

    model: tyro.conf.Positional[str]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Path
    """The facts: a file or folder."""

    out: Path
    """The .safetensors file to write. An interrupted recording goes on where it was."""

    split: str = "forget"
    """The split to record; `all` for every one."""

    attribution: Annotated[str, tyro.conf.arg(metavar="|".join(METHODS))] = "integrated-gradients"
    """How influence is measured."""

    per_fact: bool = True
    """Keep every fact's neurons, or only their means: memory then does not grow with the facts."""

    method: MethodOptions = field(default_factory=MethodOptions)
    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Record, and say what was found."""
        from neuronscope.tasks.diagnosing import record_model

        recording = record_model(
            self.model,
            self.facts,
            self.out,
            self.split,
            self.attribution,
            self.per_fact,
            self.method,
            self.loading,
        )
        console.print(
            f"{len(recording.fact_ids)} facts, {int(recording.answered.sum())} of them answered, "
            f"mean {recording.provenance.target} {recording.score.mean():+.3f} "
            f"{recording.provenance.unit}"
        )
        console.print(f"recording: {escape(str(self.out))}", soft_wrap=True)


@dataclass(frozen=True)
class Convert:
    """Write a .gguf file, or an adapter merged onto its base, as a Hugging Face directory."""

    source: tyro.conf.Positional[str]
    """What to convert."""

    out: tyro.conf.Positional[Path]
    """The directory to write."""

    loading: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Convert, and say what was done."""
        from neuronscope.tasks.diagnosing import convert

        for note in convert(self.source, self.out, self.loading):
            console.print(escape(note))
        console.print(
            f"written, loaded again and compared: {escape(str(self.out))}", soft_wrap=True
        )
