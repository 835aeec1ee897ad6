"""The command that runs a whole study."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from neuronscope.study.estimating import Estimate, Pace
    from neuronscope.study.plan import Plan

GIB = 2**30


@dataclass(frozen=True)
class Study:
    """Unlearn with several methods and seeds, score, attack and diagnose each, and compare.

    Takes a study's TOML file, or a preset with a model and facts. Every step is kept by its
    content: what is there is not computed again, and an interrupted study goes on where it was.
    """

    config: tyro.conf.Positional[Path | None] = None
    """A study as a TOML file; paths in it are relative to it."""

    preset: Literal["quick", "controls", "paper"] | None = None
    """quick: gradient difference and SSIUU, one seed, one attack. controls: SSIUU against its
    controls at matched forgetting, three seeds. paper: the baselines, attacks and
    figures of arXiv 2509.22263."""

    model: str | None = None
    """With a preset: HF directory, hub id, adapter directory, or .gguf file."""

    facts: Path | None = None
    """With a preset: the facts, each with its split."""

    never_knew: str | None = None
    """With a preset: a model that never saw the facts, attacked likewise: the lower bound of what
    can come back."""

    out: Path = Path("study")
    """Folder for the steps, tables and report."""

    dry_run: bool = False
    """Only say what would be computed, about how long that takes, and in how much memory."""

    engine: Literal["sequential", "loky", "ray"] = "sequential"
    """One step after another; in processes of this machine; or on a Ray cluster."""

    workers: int = 2
    """Steps at a time, with loky and ray."""

    figures: Literal["svg", "pdf", "png"] | None = None
    """Write every figure of the report to a file as well, in the folder figures (needs the extra
    `export`)."""

    def run(self, console: Console) -> None:
        """Plan, run, and say where the report is."""
        from neuronscope.report.drawing import check_can_draw
        from neuronscope.study.estimating import estimate_study
        from neuronscope.study.plan import checked_plan
        from neuronscope.study.presets import chosen_study

        if self.figures is not None:
            check_can_draw()
        study = chosen_study(self.config, self.preset, self.model, self.facts, self.never_knew)
        plan = checked_plan(study)
        done = sum(step.done(self.out) for step in plan.steps)
        console.print(f"{len(plan.steps)} steps, {done} of them done")
        for line in plan.left_out:
            console.print(f"[yellow]not scored:[/yellow] {escape(line)}")
        if self.dry_run:
            _show(console, *estimate_study(plan, self.out))
            return
        run_and_tell(console, plan, self.out, self.engine, self.workers, self.figures)


def run_and_tell(
    console: Console,
    plan: "Plan",
    out: Path,
    engine: Literal["sequential", "loky", "ray"] = "sequential",
    workers: int = 1,
    figures: Literal["svg", "pdf", "png"] | None = None,
) -> None:
    """Run a study, say each step, and what was found."""
    from neuronscope.study.reporting import FIGURES, summary
    from neuronscope.study.running import run_study

    report = run_study(
        plan,
        out,
        engine,
        workers,
        lambda step, place, total: console.print(
            f"step {place} of {total}: {escape(step.label)}", soft_wrap=True
        ),
        figures,
    )
    for line in summary(out):
        console.print(escape(line), soft_wrap=True)
    console.print(f"report: {escape(str(report))}  (open it in a browser; works offline)")
    if figures is not None:
        folder = report.parent / FIGURES
        console.print(f"figures: {escape(str(folder))}", soft_wrap=True)


@dataclass(frozen=True)
class Demo:
    """A small study: a tiny language model forgets 16 facts in two ways, and is asked again."""

    out: Path | None = None
    """Folder for the result (default: a new one here, neuronscope-demo)."""

    def run(self, console: Console) -> None:
        """Unlearn, attack and judge the embedded model."""
        from neuronscope.study.plan import checked_plan
        from neuronscope.study.presets import demo

        run_and_tell(console, checked_plan(demo()), self.out or new_folder())


def new_folder() -> Path:
    """A folder for a demo's result that does not exist yet."""
    names = (f"neuronscope-demo-{number}" for number in count(2))
    first = Path("neuronscope-demo")
    return first if not first.exists() else next(p for p in map(Path, names) if not p.exists())


def _show(console: Console, found: "list[Estimate]", pace: "Pace") -> None:
    table = Table("step", "minutes, about")
    for one in found:
        table.add_row(escape(one.step.label), f"{one.seconds / 60:.1f}")
    console.print(table)
    whole = sum(one.seconds for one in found) / 3600
    console.print(
        f"About {whole:.1f} hours, one step after another; stop rules may end runs long before. "
        f"Memory: about {pace.memory / GIB:.1f} GiB for weights, gradients and optimizer, and what "
        "the passes need, for each step at a time."
    )
