"""Recovery under every attack after every method, in more detail than the maximum."""

from collections.abc import Iterator

import pandas as pd

from neuronscope.report.cells import Cell, Table, name_cell, rate_cell
from neuronscope.report.numbers import attack_name, called, listed, spaced, whole_percent
from neuronscope.report.over_seeds import mean_rate, spread
from neuronscope.report.study_verdicts import attacks_of, of_place
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, NEVER_KNEW, ORIGINAL, REST
from neuronscope.results.study_tables import StudyTables

CONTROLS = {ORIGINAL: "before unlearning", NEVER_KNEW: "never knew"}
"""Displayed names of the models that methods are compared with."""

BOUNDS = {ORIGINAL: "the original model", NEVER_KNEW: "the model that never learned the facts"}
"""The same within a sentence."""


def attack_table(study: StudyTables) -> Table | None:
    """Recovery of the facts that an attack does not train on: one row per attack and method."""
    rows = []
    for place in attacks_of(study.recovery):
        of_attack = of_place(study.recovery, ("attack", "variant"), place)
        for name, here in _models(study, of_attack.loc[of_attack["split"] == REST]):
            rows.append(
                (
                    name_cell(attack_name(*place)),
                    name_cell(name),
                    rate_cell(mean_rate(here, "before_correct")),
                    rate_cell(mean_rate(here, "maximum_correct")),
                    _share(here["area"]),
                    _share(here["recovered"], *_reasons(here)),
                )
            )
    header = ("attack", "method", "before", "maximum", "area", "between the bounds")
    return Table(header, tuple(rows), len(rows)) if rows else None


def attack_notes(study: StudyTables) -> tuple[tuple[str, str], ...]:
    """The notes on attacks, each once, with the attacks that it applies to.

    Models are named unless the note applies to all methods.
    """
    if "note" not in study.recovery.columns:
        return ()
    noted = study.recovery.loc[study.recovery["note"].fillna("") != ""]
    said: dict[tuple[str, str], list[str]] = {}
    for (note, attack, variant), here in noted.groupby(["note", "attack", "variant"], sort=False):
        said.setdefault((str(note), _whose(study, here)), []).append(attack_name(attack, variant))
    return tuple((", ".join(names) + whose, note) for (note, whose), names in said.items())


def _whose(study: StudyTables, rows: pd.DataFrame) -> str:
    """The models of these rows as a phrase; empty if they include all methods."""
    own = rows.loc[rows["model"] == ATTACKED_CHECKPOINT, "method"].unique()
    if len(own) == len(study.methods):
        return ""
    controls = [BOUNDS[model] for model in rows["model"].unique() if model in BOUNDS]
    return f", on {listed([*map(called, own), *controls])}"


def _models(study: StudyTables, rest: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of every attacked model, with its displayed name."""
    own = rest["model"] == ATTACKED_CHECKPOINT
    parts = {CONTROLS[ORIGINAL]: rest["model"] == ORIGINAL}
    parts |= {method: own & (rest["method"] == method) for method in study.methods}
    parts[CONTROLS[NEVER_KNEW]] = rest["model"] == NEVER_KNEW
    return ((name, rest.loc[chosen]) for name, chosen in parts.items() if chosen.any())


def _share(values: pd.Series, *notes: str) -> Cell:
    """A mean over seeds in percent, with the lowest and the highest seed in brackets."""
    known = values.astype(float)
    mean, (low, high) = float(known.mean()), spread(known)
    ends = (f"[{whole_percent(low)}, {whole_percent(high)}]",) if low < high else ()
    return Cell(whole_percent(mean), mean, (*ends, *notes))


def _reasons(rest: pd.DataFrame) -> list[str]:
    """Why models cannot be placed between the two bounds."""
    unplaced = rest.loc[rest["recovered"].isna(), "reason"]
    return [spaced(reason) for reason in unplaced.unique()]
