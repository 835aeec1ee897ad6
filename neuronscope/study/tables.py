"""The results of a study's steps as tables."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuronscope.attacks import by_learning_rate, curves, recovery
from neuronscope.results.attack_table import NEVER_KNEW, ORIGINAL
from neuronscope.results.cache import MANIFEST, described, read_json
from neuronscope.results.study_tables import COLUMNS
from neuronscope.study.comparing import Pair, comparisons, retention
from neuronscope.study.config import Method, Study
from neuronscope.study.plan import Plan, Step
from neuronscope.study.stability import MOVED, STABILITY
from neuronscope.tasks.attack import TABLE
from neuronscope.training.plan import HISTORY

BOUNDS = (ORIGINAL, NEVER_KNEW)
"""Control models, by the names that the tables of attacks use as well."""

Tables = dict[str, pd.DataFrame]

Attacked = dict[tuple[str, str, int | None], pd.DataFrame]
"""Tables of attacks by attack, subject and seed."""


def tables_of(plan: Plan, out: Path) -> Tables:
    """All tables of a finished study; see `results/study_tables.py` for their columns."""
    attacked = _attacked(plan, out)
    return {
        "runs": pd.DataFrame([_run(plan, out, step) for step in _steps(plan, "unlearn")]),
        "recovery": _by_run(attacked, recovery),
        "by_learning_rate": _by_run(attacked, by_learning_rate),
        "curves": _by_run(attacked, curves),
        "comparisons": _compared(plan, attacked),
        "retention": _retained(plan, out),
        "diagnoses": pd.DataFrame([_diagnosis(out, step) for step in _steps(plan, "diagnose")]),
        "stability": pd.DataFrame([_stability(out, step) for step in _steps(plan, "stability")]),
        **_scores(plan, out),
    }


def histories_of(plan: Plan, out: Path) -> dict[tuple[str, int], pd.DataFrame]:
    """The training history of every run, by method and seed."""
    return {
        (step.subject, step.seed): pd.read_parquet(step.folder(out) / HISTORY)
        for step in _steps(plan, "unlearn")
        if step.seed is not None
    }


def moved_of(plan: Plan, out: Path) -> dict[str, pd.DataFrame]:
    """The neurons of each method's first run before and after an attack, by method."""
    return {
        step.subject: pd.read_parquet(step.folder(out) / MOVED)
        for step in _steps(plan, "stability")
        if step.seed == plan.study.seeds[0]
    }


def _steps(plan: Plan, kind: str) -> Iterator[Step]:
    return (step for step in plan.steps if step.kind == kind)


def _run(plan: Plan, out: Path, step: Step) -> dict[str, Any]:
    folder = step.folder(out)
    history = pd.read_parquet(folder / HISTORY)
    manifest = read_json(folder / MANIFEST)
    evaluated = history.loc[history["asked_forget"].notna()]
    first, last = evaluated.iloc[0], evaluated.iloc[-1]
    (method,) = (m for m in plan.study.methods if m.name == step.subject)
    return {
        "method": step.subject,
        "seed": step.seed,
        "objective": _called(method.objective),
        "regularizer": _called(method.regularizer),
        "stop": _called(method.stop),
        "stopped": manifest["stopped"],
        "steps": manifest["steps"],
        "seconds": manifest["seconds"],
        "update_norm": float(history["update_norm"].iloc[-1]),
        "asked_forget": int(last["asked_forget"]),
        "answered_forget_before": int(first["answered_forget"]),
        "answered_forget": int(last["answered_forget"]),
        "log_odds_before": float(first["log_odds_forget"]),
        "log_odds": float(last["log_odds_forget"]),
        "strength": float(history["strength"].median()) if "strength" in history else np.nan,
    }


def _attacked(plan: Plan, out: Path) -> Attacked:
    """The table of every attack."""
    return {
        (step.what, step.subject, step.seed): pd.read_parquet(step.folder(out) / TABLE)
        for step in _steps(plan, "attack")
    }


def _by_run(attacked: Attacked, summary: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """A summary of the attacks on each run, with the same attacks on the control models."""
    rows = []
    for attack, subject, seed in attacked:
        if subject in BOUNDS:
            continue
        bounds = [
            attacked[attack, bound, None].assign(model=bound)
            for bound in BOUNDS
            if (attack, bound, None) in attacked
        ]
        both = pd.concat([attacked[attack, subject, seed], *bounds], ignore_index=True)
        rows.append(summary(both).assign(method=subject, run_seed=seed, attack=attack))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _compared(plan: Plan, attacked: Attacked) -> pd.DataFrame:
    pairs = pairs_of(plan.study)
    attacks = dict.fromkeys(attack for attack, _, _ in attacked)
    tables = []
    for attack in attacks:
        by_method = {
            method.name: [attacked[attack, method.name, seed] for seed in plan.study.seeds]
            for method in plan.study.methods
        }
        tables.append(comparisons(by_method, attack, pairs))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _retained(plan: Plan, out: Path) -> pd.DataFrame:
    answers = {
        method.name: [
            pd.read_parquet(step.folder(out) / "answers.parquet")
            for seed in plan.study.seeds
            for step in plan.of("score", method.name, seed)
        ]
        for method in plan.study.methods
    }
    return retention(answers, pairs_of(plan.study))


def pairs_of(study: Study) -> list[Pair]:
    """The methods to compare: each with the controls that share its stop rule or match it.

    Without controls, all pairs of methods with the same stop rule.
    """
    studied = [method for method in study.methods if not method.control]
    controls = [method for method in study.methods if method.control]
    if not studied or not controls:
        ones = study.methods
        return [
            Pair(one.name, other.name)
            for place, one in enumerate(ones)
            for other in ones[place + 1 :]
            if _rule(one) == _rule(other)
        ]
    return [Pair(a.name, b.name) for a in studied for b in controls if _comparable(a, b)]


def _comparable(method: Method, control: Method) -> bool:
    return _rule(control) == _rule(method) or control.matches == method.name


def _rule(method: Method) -> object:
    """The stop rule with all its settings, so that equal rules compare equal."""
    return described(method.made(seed=0).stop)


def _scores(plan: Plan, out: Path) -> Tables:
    parts_of: dict[str, list[pd.DataFrame]] = {"strata": [], "scores": []}
    for step in _steps(plan, "score"):
        for name, parts in parts_of.items():
            path = step.folder(out) / f"{name}.parquet"
            if path.is_file():
                table = pd.read_parquet(path).assign(method=step.subject, seed=step.seed)
                # With a reference, the strata have further columns.
                parts.append(table[[*COLUMNS["strata"]]] if name == "strata" else table)
    return {
        name: pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        for name, parts in parts_of.items()
    }


def _diagnosis(out: Path, step: Step) -> dict[str, Any]:
    diagnosis = read_json(step.folder(out) / "diagnosis.json")
    verdict = diagnosis.get("verdict")
    return {
        "method": step.subject,
        "seed": step.seed,
        "reading": diagnosis["reading"],
        "d_plus": diagnosis["d_plus_at_100"],
        "d_minus": diagnosis["d_minus_at_100"],
        "verdict": verdict,
        "why": diagnosis["why"],
        "report": str(step.folder(out).relative_to(out) / "report.html"),
        **_share(diagnosis),
    }


def _stability(out: Path, step: Step) -> dict[str, Any]:
    summary = read_json(step.folder(out) / STABILITY)
    alike = {name: _number(summary[name]) for name in ("pearson", "spearman")}
    return {"method": step.subject, "seed": step.seed, "attack": step.what, **summary, **alike}


def _share(diagnosis: dict[str, Any]) -> dict[str, float]:
    """The hidden share behind the verdict; NaN if no causal view was computed."""
    weighing = diagnosis.get("weighing") or {}
    ends = weighing.get("hidden_share_ci95") or (None, None)
    values = (weighing.get("hidden_share"), *ends)
    named = zip(("hidden_share", "low", "high"), values, strict=True)
    return {name: _number(value) for name, value in named}


def _number(value: float | None) -> float:
    """JSON has null instead of NaN."""
    return np.nan if value is None else float(value)


def _called(choice: str | dict[str, Any] | None) -> str:
    """A method and its settings as text."""
    if choice is None:
        return ""
    if isinstance(choice, str):
        return choice
    more = ", ".join(f"{name}={value}" for name, value in choice.items() if name != "name")
    return f"{choice['name']} ({more})" if more else choice["name"]
