"""The last step of a study: its tables as files, and its page."""

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
"""Nats per token between methods from which the page warns that they are not equally deep."""

FEW_FACTS = 30
"""Below this, one fact more or less is several percent, and intervals are wide."""


def report_study(plan: Plan, out: Path, figures: Kind | None) -> Path:
    """Write every table of a finished study, and the report; returns the report's path.

    Args:
        figures: In which format every figure of the report is written as well.
    """
    tables = tables_of(plan, out)
    for name, table in tables.items():
        write_table(out / f"{name}.parquet", table)
    study = plan.study
    found = StudyTables(
        question=f"{Path(study.model).name}, {study.facts.name}: which methods erased, which hid?",
        histories=histories_of(plan, out),
        moved=moved_of(plan, out),
        settings=plain_study(study),
        reproduce=f"# in the folder of this page\nneuronscope study {CONFIG} --out NEW",
        warnings=warnings_of(plan, tables["runs"], tables["stability"]),
        **tables,
    )
    # Whoever makes the study again is in another folder than it was made from.
    write_json(out / CONFIG, plain_study(from_folder(study, Path.cwd())))
    write_study_report(found, out / REPORT)
    if figures is not None:
        write_figures(figures_of_study(found), out / FIGURES, figures)
    return out / REPORT


def warnings_of(plan: Plan, runs: pd.DataFrame, stability: pd.DataFrame) -> tuple[str, ...]:
    """What a reader must know before believing the page.

    Args:
        runs: The study's.
        stability: Likewise; may be empty.
    """
    ended = (*_unfinished(runs), *_broken_off(stability))
    said = [*plan.left_out, *_unequally_deep(plan, runs), *ended]
    asked = int(runs["asked_forget"].max())
    if asked < FEW_FACTS:
        said.append(
            f"{asked} facts were to be forgotten: one of them is {1 / asked:.0%}. Seeds repeat the "
            "methods on the same facts, and add none."
        )
    if plan.study.never_knew is None and plan.study.attacks:
        said.append(
            "No model that never knew the facts was attacked: what is guessed or learnt anew under "
            "an attack is counted as come back."
        )
    if len(plan.study.seeds) == 1:
        said.append("One seed: how much a method varies from run to run is not known.")
    return tuple(said)


def _unequally_deep(plan: Plan, runs: pd.DataFrame) -> Iterator[str]:
    """Of methods that are compared, the two that end furthest apart."""
    depths = {name: float(np.mean(here["log_odds"])) for name, here in runs.groupby("method")}
    pairs = [(pair.method, pair.other) for pair in pairs_of(plan.study)]
    ordered = [sorted(pair, key=depths.__getitem__) for pair in pairs]
    if not ordered:
        return
    deeper, other = max(ordered, key=lambda pair: depths[pair[1]] - depths[pair[0]])
    if depths[other] - depths[deeper] > DEEPER:
        yield (
            f"Methods are compared that end at unequal log-odds: {deeper} at {depths[deeper]:.1f}, "
            f"{other} at {depths[other]:.1f}. What lies deeper comes back under stronger attacks "
            "only, by whatever method it was put there: compare methods that stop at the same "
            "log-odds (stop rule log-odds)."
        )


def _unfinished(runs: pd.DataFrame) -> Iterator[str]:
    """Runs that their stop rule did not end."""
    ruled = runs.loc[runs["stop"] != ""]
    late = ruled.loc[ruled["stopped"].str.startswith(OUT_OF_STEPS)]
    if len(late):
        counts = late["method"].value_counts(sort=False)
        named = ", ".join(f"{name} ({count} of its runs)" for name, count in counts.items())
        yield (
            f"These ended at their last step, before their stop rule held: {named}. They are not "
            "where the rule would have them, and are compared as they are: give more steps."
        )


def _broken_off(stability: pd.DataFrame) -> Iterator[str]:
    """Runs that were recorded after an attack that did not come to its end."""
    for row in stability.to_dict("records"):
        if not row["stopped"].startswith(OUT_OF_STEPS):
            yield (
                f"{row['method']}, seed {row['seed']}: the attack after which its neurons were "
                f"recorded broke off: {row['stopped']}"
            )


def summary(out: Path) -> list[str]:
    """What a finished study found, a line for each method and seed."""
    runs, recovery, diagnoses = (
        pd.read_parquet(out / f"{name}.parquet") for name in ("runs", "recovery", "diagnoses")
    )
    lines = []
    for run in runs.to_dict("records"):
        said = [
            f"{run['answered_forget']} of {run['asked_forget']} still answered, log-odds "
            f"{run['log_odds']:+.2f}"
        ]
        if not recovery.empty:
            mine = (recovery["method"] == run["method"]) & (recovery["run_seed"] == run["seed"])
            rest = (recovery["split"] == REST) & (recovery["model"] == ATTACKED_CHECKPOINT)
            said += [
                f"{r['attack']}: {r['reading']}"
                for r in recovery.loc[mine & rest].to_dict("records")
            ]
        if not diagnoses.empty:
            mine = (diagnoses["method"] == run["method"]) & (diagnoses["seed"] == run["seed"])
            said += [f"verdict: {word}" for word in diagnoses.loc[mine, "verdict"].dropna()]
        lines.append(
            f"{run['method']}, seed {run['seed']}: {'; '.join(one.rstrip('.') for one in said)}."
        )
    return lines
