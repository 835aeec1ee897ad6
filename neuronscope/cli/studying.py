"""The commands that run a whole study."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from neuronscope.cli.wording import FigureFormat

if TYPE_CHECKING:
    from neuronscope.study.estimating import Estimate, Pace
    from neuronscope.study.plan import Plan

GIB = 2**30

CONFIG = (
    "TOML file that describes the study, with paths relative to it. Without a file, give a preset, "
    "a model and facts."
)

NEVER_KNEW = (
    "A model that never learned the facts, attacked as well for a lower bound on recovery "
    "(default: none)."
)

OUT = (
    "Folder for the steps, tables and report. Finished steps are not computed again, so the same "
    "command resumes an interrupted study."
)

PRESETS = """A predefined study (default: use FILE).

quick: gradient difference and SSIUU, one seed, one attack.
controls: SSIUU and its controls at matched forgetting, three seeds.
paper: the baselines, attacks and figures of arXiv 2509.22263."""


@dataclass(frozen=True)
class Study:
    """Unlearn with several methods and seeds; score, attack and diagnose every run; compare."""

    config: Annotated[
        Path | None,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="[FILE]", help=CONFIG, help_behavior_hint=""),
    ] = None

    preset: Annotated[
        Literal["quick", "controls", "paper"] | None,
        tyro.conf.arg(metavar="{quick,controls,paper}", help=PRESETS, help_behavior_hint=""),
    ] = None

    model: Annotated[str | None, tyro.conf.arg(metavar="MODEL", help_behavior_hint="")] = None
    """Model for the preset: HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Facts for the preset: a file or folder of facts with their splits."""

    never_knew: Annotated[
        str | None, tyro.conf.arg(metavar="MODEL", help=NEVER_KNEW, help_behavior_hint="")
    ] = None

    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER", help=OUT)] = Path("study")

    dry_run: bool = False
    """Only print the steps, with estimates of their duration and memory."""

    engine: Literal["sequential", "loky", "ray"] = "sequential"
    """Where steps run: one after another, in processes on this machine, or on a Ray cluster."""

    workers: Annotated[int, tyro.conf.arg(metavar="NUMBER")] = 2
    """Number of steps to run in parallel, with loky and ray."""

    figures: FigureFormat = None

    def run(self, console: Console) -> None:
        """Plan and run the study, and print its results."""
        from neuronscope.report.drawing import check_can_draw
        from neuronscope.study.estimating import estimate_study
        from neuronscope.study.plan import checked_plan
        from neuronscope.study.presets import chosen_study

        if self.figures is not None:
            check_can_draw()
        study = chosen_study(self.config, self.preset, self.model, self.facts, self.never_knew)
        plan = checked_plan(study)
        done = sum(step.done(self.out) for step in plan.steps)
        console.print(f"{len(plan.steps)} steps, {done} already done")
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
    """Run a study; print each step as it starts, and the results."""
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
    console.print(
        f"report: {escape(str(report))} (open in a browser; works offline)", soft_wrap=True
    )
    if figures is not None:
        folder = report.parent / FIGURES
        console.print(f"figures: {escape(str(folder))}", soft_wrap=True)


@dataclass(frozen=True)
class Demo:
    """Run a small study on the bundled model: forget 16 facts in two ways, then attack."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER", help_behavior_hint="")] = None
    """Folder for the result (default: a new folder neuronscope-demo)."""

    def run(self, console: Console) -> None:
        """Run the demo study and print its results."""
        from neuronscope.study.plan import checked_plan
        from neuronscope.study.presets import demo

        run_and_tell(console, checked_plan(demo()), self.out or new_folder())


def new_folder() -> Path:
    """A folder for the demo's result that does not exist yet."""
    names = (f"neuronscope-demo-{number}" for number in count(2))
    first = Path("neuronscope-demo")
    return first if not first.exists() else next(p for p in map(Path, names) if not p.exists())


def _show(console: Console, estimates: "list[Estimate]", pace: "Pace") -> None:
    table = Table("step", "minutes (estimate)")
    for one in estimates:
        table.add_row(escape(one.step.label), f"{one.seconds / 60:.1f}")
    console.print(table)
    whole = sum(one.seconds for one in estimates) / 3600
    console.print(
        f"About {whole:.1f} hours if steps run one after another; stop rules may end runs much "
        f"earlier. Memory: about {pace.memory / GIB:.1f} GiB for weights, gradients and optimizer "
        "states, plus activations, for each step that runs in parallel."
    )
