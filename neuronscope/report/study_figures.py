"""The figures of a study's page. Their captions are in `templates/captions.j2`."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from neuronscope.plots.attack_lr_sweep import attack_lr_sweep
from neuronscope.plots.recovery_bars import recovery_bars
from neuronscope.plots.recovery_curve import recovery_curve
from neuronscope.plots.stability_scatter import stability_scatter
from neuronscope.plots.strength_sweep import strength_sweep
from neuronscope.plots.trade_off import trade_off
from neuronscope.plots.training_terms import training_terms
from neuronscope.plots.unlearning_curve import unlearning_curve
from neuronscope.report.figures import ReportFigure, prepare
from neuronscope.report.numbers import attack_name
from neuronscope.report.over_seeds import (
    added,
    mean_rate,
    pooled_by_learning_rate,
    pooled_curves,
    pooled_recovery,
)
from neuronscope.report.study_verdicts import attacks_of, of_place
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, REST
from neuronscope.results.study_tables import HELD_OUT, TRAINED, StudyTables

STRENGTHS = ("strength=", "relative=")
"""The settings of a regularizer that determine its strength."""


@dataclass(frozen=True)
class Named:
    """Figures behind a heading that unfolds them."""

    name: str
    figures: tuple[ReportFigure, ...]


@dataclass(frozen=True)
class StudyFigures:
    """All figures of the page; those without a table are missing."""

    bars: ReportFigure | None
    curves: tuple[Named, ...]
    """One per attack: by budget and, if it had several, by learning rate."""

    trades: tuple[Named, ...]
    """One per attack, the attack with the largest recovery first."""

    sweeps: tuple[ReportFigure, ...]
    stability: tuple[Named, ...]
    """How an attack changed the neurons, for one run of each method."""

    training: tuple[Named, ...]
    """One per run with a history."""


def study_figures(study: StudyTables) -> StudyFigures:
    """Every figure for which the study has a table."""
    return StudyFigures(
        bars=_bars(study),
        curves=tuple(_curves(study)),
        trades=tuple(_trades(study)),
        sweeps=tuple(_sweeps(study)),
        stability=tuple(_stability(study)),
        training=tuple(_training(study)),
    )


def _bars(study: StudyTables) -> ReportFigure | None:
    if not attacks_of(study.recovery):
        return None
    pooled = pooled_recovery(_in_order(study, study.recovery))
    return prepare("recovered", recovery_bars(pooled))


def _curves(study: StudyTables) -> Iterator[Named]:
    if study.curves.empty:
        return
    pooled = pooled_curves(_in_order(study, study.curves))
    for number, (attack, here) in enumerate(pooled.groupby("attack", sort=False)):
        if (here["split"] == REST).any():
            drawn = prepare(f"curve-{number}", recovery_curve(here), "recovery-curve")
            by_rate = _by_learning_rate(study, str(attack), f"rates-{number}")
            yield Named(attack_name(attack, ""), (drawn, *by_rate))


def _by_learning_rate(study: StudyTables, attack: str, name: str) -> Iterator[ReportFigure]:
    """Recovery at each learning rate, for variants with several."""
    rates = study.by_learning_rate
    if rates.empty:
        return
    rest = rates.loc[(rates["attack"] == attack) & (rates["split"] == REST)]
    several = rest.loc[rest.groupby("variant")["lr"].transform("nunique") > 1]
    if len(several):
        pooled = pooled_by_learning_rate(_in_order(study, several))
        yield prepare(name, attack_lr_sweep(pooled))


def _trades(study: StudyTables) -> Iterator[Named]:
    runs = {place: _kept_and_back(study, place) for place in attacks_of(study.recovery)}
    drawn = [place for place, table in runs.items() if len(table)]
    # The attack with the largest recovery reveals most about what is still in the model.
    for number, place in enumerate(sorted(drawn, key=lambda at: -runs[at]["recovery"].mean())):
        name = attack_name(*place)
        figure = prepare(f"trade-{number}", trade_off(runs[place]))
        yield Named(name, (replace(figure, title=f"{figure.title}: {name}"),))


def _sweeps(study: StudyTables) -> Iterator[ReportFigure]:
    """One figure per regularizer, for methods that differ only in its strength."""
    if "strength" not in study.runs.columns or study.recovery.empty:
        return
    runs = study.runs.assign(
        made=study.runs["regularizer"].fillna("").map(_without_strength),
        # A strength that is recomputed at each step differs slightly between seeds.
        strength=study.runs.groupby("method")["strength"].transform("mean"),
    )
    back = pd.concat(
        _kept_and_back(study, place).assign(attack=attack_name(*place))
        for place in attacks_of(study.recovery)
    )
    alike = runs.loc[runs["strength"].notna()].groupby(["objective", "stop", "made"], sort=False)
    for number, ((objective, stop, made), swept) in enumerate(alike):
        if swept["strength"].nunique() < 2 or back.empty:
            continue
        plain = runs.loc[(runs["objective"] == objective) & (runs["stop"] == stop)]
        plain = plain.loc[plain["made"] == ""].assign(strength=0.0)
        strengths = pd.concat([plain, swept])[["method", "seed", "strength"]]
        figure = prepare(
            f"sweep-{number}", strength_sweep(back.merge(strengths, on=["method", "seed"]))
        )
        yield replace(figure, title=f"{figure.title}: {objective} + {made}")


def _without_strength(regularizer: object) -> str:
    """A regularizer with its settings, without its strength."""
    kind, _, settings = str(regularizer).removesuffix(")").partition(" (")
    rest = [one for one in settings.split(", ") if one and not one.startswith(STRENGTHS)]
    return f"{kind} ({', '.join(rest)})" if rest else kind


def _stability(study: StudyTables) -> Iterator[Named]:
    if study.stability.empty:
        return
    (unit,) = study.stability["unit"].unique()
    for number, (method, neurons) in enumerate(study.moved.items()):
        figure = prepare(f"stability-{number}", stability_scatter(neurons, unit))
        yield Named(method, (replace(figure, title=f"{figure.title}: {method}"),))


def _training(study: StudyTables) -> Iterator[Named]:
    for number, ((method, seed), history) in enumerate(study.histories.items()):
        figures = []
        if "answered_forget" in history and history["answered_forget"].notna().any():
            figures.append(prepare(f"unlearning-{number}", unlearning_curve(history)))
        if "gradient_norm" in history and history["gradient_norm"].notna().any():
            figures.append(prepare(f"terms-{number}", training_terms(history)))
        if figures:
            yield Named(f"{method}, seed {seed}", tuple(figures))


def _in_order(study: StudyTables, table: pd.DataFrame) -> pd.DataFrame:
    """Order the rows by method, so that every figure uses the same colours."""
    place = {method: number for number, method in enumerate(study.methods)}
    order = table["method"].map(place).fillna(len(place))
    return table.assign(order=order).sort_values("order", kind="stable").drop(columns="order")


def _kept_and_back(study: StudyTables, place: tuple[str, str]) -> pd.DataFrame:
    """Held-out facts that each run kept, and forgotten facts that an attack recovered.

    Without held-out facts, those trained on are used.
    """
    uses = set(study.strata["use"]) if len(study.strata) else set()
    use = HELD_OUT if HELD_OUT in uses else TRAINED
    attacked = of_place(study.recovery, ("attack", "variant"), place)
    rows = []
    for run in study.runs.to_dict("records") if use in uses else ():
        own = (study.strata["method"] == run["method"]) & (study.strata["seed"] == run["seed"])
        kept = study.strata.loc[own & (study.strata["use"] == use)]
        mine = (attacked["method"] == run["method"]) & (attacked["run_seed"] == run["seed"])
        back = attacked.loc[
            mine & (attacked["split"] == REST) & (attacked["model"] == ATTACKED_CHECKPOINT)
        ]
        if kept.empty or back.empty:
            continue
        found = {"retained": added(kept)}
        found["recovery"] = mean_rate(back, "maximum_correct")
        row = {"method": run["method"], "seed": run["seed"]}
        for name, rate in found.items():
            low, high = rate.interval
            row |= {name: rate.share, f"{name}_low": low, f"{name}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)
