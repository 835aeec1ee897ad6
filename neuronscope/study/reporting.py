"""The last step of a study: its tables and its report."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from neuronscope.report.drawing import Kind, figures_of_study, write_figures
from neuronscope.report.study_page import write_study_report
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, REST
from neuronscope.results.cache import write_json, write_table
from neuronscope.results.study_tables import StudyTables
from neuronscope.study.loading import from_folder, plain_study
from neuronscope.study.plan import Plan
from neuronscope.study.tables import histories_of, moved_of, pairs_of, tables_of
from neuronscope.training.loop import OUT_OF_STEPS

REPORT, CONFIG, FIGURES = "report.html", "study.json", "figures"

DEEPER = 1.0
"""Difference in log-odds, in nats per token, above which the report warns that compared methods
forgot to different depths."""

FEW_FACTS = 30
"""With fewer facts, each counts several percent and intervals are wide."""


def report_study(plan: Plan, out: Path, figures: Kind | None) -> Path:
    """Write the tables and the report of a finished study; returns the report's path.

    Args:
        figures: The file format in which to write every figure of the report; None for no files.
    """
    tables = tables_of(plan, out)
    for name, table in tables.items():
        write_table(out / f"{name}.parquet", table)
    study = plan.study
    everything = StudyTables(
        question=f"{Path(study.model).name}, {study.facts.name}: which methods erased, which hid?",
        histories=histories_of(plan, out),
        moved=moved_of(plan, out),
        settings=plain_study(study),
        reproduce=f"# in the folder of this report\nneuronscope study {CONFIG} --out NEW",
        warnings=warnings_of(plan, tables["runs"], tables["stability"]),
        **tables,
    )
    # Absolute paths, because the study may be repeated from another folder.
    write_json(out / CONFIG, plain_study(from_folder(study, Path.cwd())))
    write_study_report(everything, out / REPORT)
    if figures is not None:
        write_figures(figures_of_study(everything), out / FIGURES, figures)
    return out / REPORT


def warnings_of(plan: Plan, runs: pd.DataFrame, stability: pd.DataFrame) -> tuple[str, ...]:
    """The limitations of a study that its report must state.

    Args:
        runs: The table of runs.
        stability: The table of stability; may be empty.
    """
    ended = (*_unfinished(runs), *_broken_off(stability))
    warnings = [*plan.left_out, *_unequally_deep(plan, runs), *ended]
    facts = int(runs["asked_forget"].max())
    if facts < FEW_FACTS:
        warnings.append(
            f"The forget set has only {facts} facts, so one fact counts {1 / facts:.0%}. More "
            "seeds repeat the methods on the same facts and do not change this."
        )
    if plan.study.never_knew is None and plan.study.attacks:
        warnings.append(
            "No model that never learned the facts was attacked. Answers that are guessed, or "
            "learned from the attack, therefore count as recovered."
        )
    if len(plan.study.seeds) == 1:
        warnings.append("With one seed, the variation of a method between runs is unknown.")
    return tuple(warnings)


def _unequally_deep(plan: Plan, runs: pd.DataFrame) -> Iterator[str]:
    """The pair of compared methods whose final log-odds differ most, if they differ much."""
    depths = {name: float(np.mean(rows["log_odds"])) for name, rows in runs.groupby("method")}
    pairs = [(pair.method, pair.other) for pair in pairs_of(plan.study)]
    ordered = [sorted(pair, key=depths.__getitem__) for pair in pairs]
    if not ordered:
        return
    deeper, other = max(ordered, key=lambda pair: depths[pair[1]] - depths[pair[0]])
    if depths[other] - depths[deeper] > DEEPER:
        yield (
            f"Some compared methods end at different log-odds: {deeper} at {depths[deeper]:.1f}, "
            f"{other} at {depths[other]:.1f}. Answers with lower log-odds need stronger attacks to "
            "be recovered, whatever the method: compare methods that stop at the same log-odds "
            "(stop rule log-odds)."
        )


def _unfinished(runs: pd.DataFrame) -> Iterator[str]:
    """Runs that took all their steps before the stop rule applied."""
    ruled = runs.loc[runs["stop"] != ""]
    late = ruled.loc[ruled["stopped"].str.startswith(OUT_OF_STEPS)]
    if len(late):
        counts = late["method"].value_counts(sort=False)
        named = ", ".join(f"{name} (runs: {count})" for name, count in counts.items())
        yield (
            f"These runs took all their steps before the stop rule applied: {named}. They are "
            "compared as they are; allow more steps to reach the intended stopping point."
        )


def _broken_off(stability: pd.DataFrame) -> Iterator[str]:
    """Runs recorded after an attack that ended early."""
    for row in stability.to_dict("records"):
        if not row["stopped"].startswith(OUT_OF_STEPS):
            yield (
                f"{row['method']}, seed {row['seed']}: the attack before the second recording of "
                f"its neurons ended early: {row['stopped']}"
            )


def summary(out: Path) -> list[str]:
    """The results of a finished study, one line per method and seed."""
    runs, recovery, diagnoses = (
        pd.read_parquet(out / f"{name}.parquet") for name in ("runs", "recovery", "diagnoses")
    )
    lines = []
    for run in runs.to_dict("records"):
        parts = [
            f"{run['answered_forget']} of {run['asked_forget']} forget facts answered, log-odds "
            f"{run['log_odds']:+.2f}"
        ]
        if not recovery.empty:
            mine = (recovery["method"] == run["method"]) & (recovery["run_seed"] == run["seed"])
            rest = (recovery["split"] == REST) & (recovery["model"] == ATTACKED_CHECKPOINT)
            parts += [
                f"{r['attack']}: {r['reading']}"
                for r in recovery.loc[mine & rest].to_dict("records")
            ]
        if not diagnoses.empty:
            mine = (diagnoses["method"] == run["method"]) & (diagnoses["seed"] == run["seed"])
            parts += [f"verdict: {word}" for word in diagnoses.loc[mine, "verdict"].dropna()]
        lines.append(
            f"{run['method']}, seed {run['seed']}: {'; '.join(one.rstrip('.') for one in parts)}."
        )
    return lines
