"""The last step of a study: its tables as files, and its page."""

from pathlib import Path

import numpy as np
import pandas as pd

from neuronscope.manifest import write_json
from neuronscope.report.study_page import write_study_report
from neuronscope.study.plan import Plan
from neuronscope.study.reading import plain_study
from neuronscope.study.tables import histories_of, tables_of
from neuronscope.study_tables import StudyTables

REPORT, CONFIG = "report.html", "study.json"

DEEPER = 1.0
"""Nats per token between methods from which the page warns that they are not equally deep."""

FEW_FACTS = 30
"""Below this, one fact more or less is several percent, and intervals are wide."""


def report_study(plan: Plan, out: Path) -> Path:
    """Write every table of a finished study, and the report; returns the report's path."""
    tables = tables_of(plan, out)
    for name, table in tables.items():
        partial = out / f".{name}.parquet"
        table.to_parquet(partial, index=False)
        partial.replace(out / f"{name}.parquet")
    study = plan.study
    found = StudyTables(
        question=f"{Path(study.model).name}, {study.facts.name}: which methods erased, which hid?",
        histories=histories_of(plan, out),
        settings=plain_study(study),
        reproduce=f"neuronscope study {CONFIG} --out NEW",
        warnings=warnings_of(plan, tables["runs"]),
        **tables,
    )
    write_json(out / CONFIG, plain_study(study))
    write_study_report(found, out / REPORT)
    return out / REPORT


def warnings_of(plan: Plan, runs: pd.DataFrame) -> tuple[str, ...]:
    """What a reader must know before believing the page.

    Args:
        runs: The study's.
    """
    said, asked = [*plan.left_out], int(runs["asked_forget"].max())
    depths = {name: float(np.mean(here["log_odds"])) for name, here in runs.groupby("method")}
    deepest, shallowest = (pick(depths, key=depths.__getitem__) for pick in (min, max))
    if depths[shallowest] - depths[deepest] > DEEPER:
        said.append(
            f"The methods end at log-odds from {depths[deepest]:.1f} ({deepest}) to "
            f"{depths[shallowest]:.1f} ({shallowest}). What lies deeper comes back under stronger "
            "attacks only, by whatever method it was put there: compare methods that stop at the "
            "same log-odds (stop rule log-odds)."
        )
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
