"""A study of four methods and two seeds with planted numbers, for figures and reports."""

import dataclasses
import math

import numpy as np
import pandas as pd

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._recovery import by_learning_rate, curves, recovery
from neuronscope.results.study_tables import StudyTables

METHODS = {
    "gradient difference": "",
    "SSIUU": "ssiuu",
    "L2 of equal size": "l2-to-reference",
    "NPO": "",
}
"""What a reader calls each method, and its regularizer; all but NPO have one objective."""

SEEDS = (0, 1)
FORGET, TAUGHT = 16, 2
BACK = {"gradient difference": 13, "SSIUU": 12, "L2 of equal size": 12, "NPO": 1}
"""Forgotten facts that relearning brings back, of the fourteen that it does not teach."""

STRATA = {"neighbours": 8, "same subject": 6, "everything else": 10}
STEPS, LR, SLOW = (0, 10, 40), 1e-5, 1e-6
VARIANT = "2 of 16 facts"


def example_study(rename=None, seeds=SEEDS, **changed) -> StudyTables:
    """The study; `rename` turns a method's name into another, `changed` are other tables."""
    tables = {
        "question": "Does SSIUU erase what gradient difference only hides?",
        "runs": _runs(seeds),
        "strata": _strata(seeds),
        "scores": _scores(seeds),
        "recovery": _attacked(recovery, seeds),
        "by_learning_rate": _attacked(by_learning_rate, seeds),
        "curves": _attacked(curves, seeds),
        "comparisons": comparisons(),
        "retention": _retention(),
        "diagnoses": _diagnoses(seeds),
        "stability": _stability(seeds),
        "moved": {name: moved() for name in METHODS},
        "histories": {(name, seed): history() for name in METHODS for seed in seeds},
        "settings": {"model": {"name": "a/model", "dtype": "float32"}, "attack": {"lrs": [LR]}},
        "reproduce": "neuronscope study plan.toml --out study",
        "warnings": ("There are few facts: intervals are wide.",),
    } | changed
    if rename is not None:
        for name, table in tables.items():
            if not isinstance(table, pd.DataFrame):
                continue
            columns = [key for key in ("method", "other") if key in table.columns]
            tables[name] = table.assign(**{key: table[key].map(rename) for key in columns})
        tables["moved"] = {rename(name): table for name, table in tables["moved"].items()}
        old = tables["histories"]
        tables["histories"] = {(rename(name), seed): table for (name, seed), table in old.items()}
    return StudyTables(**tables)


def swept(study) -> StudyTables:
    """The same study, every method relearnt at a lower rate too: two or three come back."""
    found = []
    for name in study.methods:
        for seed in SEEDS:
            slow = attack_table(2 + seed, lr=SLOW)
            found.append(by_learning_rate(slow).assign(method=name, run_seed=seed))
    rates = pd.concat([study.by_learning_rate, *found], ignore_index=True)
    return dataclasses.replace(study, by_learning_rate=rates)


def comparisons(p=(0.6, 0.8, 0.0004), difference=(-0.07, 0.0, 0.86)) -> pd.DataFrame:
    """SSIUU against its two controls, and gradient difference against NPO."""
    pairs = (
        ("SSIUU", "gradient difference"),
        ("SSIUU", "L2 of equal size"),
        ("gradient difference", "NPO"),
    )
    return pd.DataFrame(
        [
            {"attack": "relearn_forget", "variant": VARIANT, "method": method, "other": other}
            | {"facts": 14, "runs": 2}
            | {"difference": gap, "low": gap - 0.1, "high": gap + 0.1, "p": chance}
            | {"reading": f"{method} against {other}."}
            for (method, other), chance, gap in zip(pairs, p, difference, strict=True)
        ]
    )


def attack_table(back, attack="relearn_forget", variant=VARIANT, lr=LR) -> pd.DataFrame:
    """Three looks at a checkpoint and two controls: `back` of fourteen at the end."""
    rest = FORGET - TAUGHT
    counts = {
        ("attacked checkpoint", "rest"): (0, back // 2, back, rest),
        ("attacked checkpoint", "attacked"): (0, 1, TAUGHT, TAUGHT),
        ("original", "rest"): (rest, rest, rest, rest),
        ("never_knew", "rest"): (0, 0, 1, rest),
    }
    return pd.DataFrame(
        [
            {"attack": attack, "model": model, "variant": variant, "lr": lr, "seed": 0, "fold": 0}
            | {"note": ""}
            | {"step": step, "budget": step * lr, "split": split, "correct": correct, "n": n}
            | {"score": float(correct - 7)}
            for (model, split), (*looks, n) in counts.items()
            for step, correct in zip(STEPS, looks, strict=True)
        ]
    )


def history() -> pd.DataFrame:
    """Four steps, the answers going one by one."""
    steps = np.arange(4)
    answered = np.array([16.0, 9.0, 2.0, 0.0])
    return pd.DataFrame(
        {
            "step": steps,
            "loss_forget": [math.nan, -1.0, -2.0, -4.0],
            "loss_retain": [math.nan, 0.5, 0.6, 0.4],
            "gradient_norm": [math.nan, 3.0, 2.0, 1.0],
            "penalty_norm": [math.nan, 0.3, 0.2, 0.1],
            "cosine": [math.nan, 0.1, -0.1, 0.0],
            "asked_forget": FORGET,
            "answered_forget": answered,
            "answered_forget_rate": answered / FORGET,
            "log_odds_forget": [3.0, 1.0, -2.0, -5.0],
        }
    )


def _runs(seeds) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": name, "seed": seed, "regularizer": regularizer, "stop": "forget_accuracy"}
            | {"objective": "npo" if name == "NPO" else "gradient_difference"}
            | {"stopped": "No answer is given any more.", "steps": 30 + seed, "seconds": 12.5}
            | {"update_norm": 0.5 + 0.1 * seed, "asked_forget": FORGET}
            | {"answered_forget_before": 16, "answered_forget": seed}
            | {"log_odds_before": 3.0, "log_odds": -4.0 - seed}
            for name, regularizer in METHODS.items()
            for seed in seeds
        ]
    )


def _strata(seeds) -> pd.DataFrame:
    kinds = [(name, use, n) for name, n in STRATA.items() for use in ("retain", "test")]
    kinds += [("trained prompt", "forget", FORGET), ("paraphrases", "forget", 3 * FORGET)]
    runs = [("original", 0, 0), *((name, seed, 1 + seed) for name in METHODS for seed in seeds)]
    rows = []
    for method, seed, lost in runs:
        for stratum, use, n in kinds:
            correct = n - lost if method == "original" or use != "forget" else 0
            low, high = wilson_interval(correct, n)
            row = {"method": method, "seed": seed, "stratum": stratum, "use": use}
            rows.append(row | {"correct": correct, "n": n, "low": low, "high": high})
    return pd.DataFrame(rows)


def _scores(seeds) -> pd.DataFrame:
    runs = [("original", 0), *((name, seed) for name in METHODS for seed in seeds)]
    rate = {"unit": "share of facts", "direction": "lower is more forgotten", "chance": None}
    return pd.DataFrame(
        [
            {"method": method, "seed": seed, "metric": metric, "split": "forget", "value": value}
            | {"low": value, "high": value, "n": FORGET, "count": count, "reason": reason}
            | rate
            for method, seed in runs
            for metric, value, count, reason in (
                ("rouge_l", 0.9 if method == "original" else 0.1 + 0.1 * seed, None, ""),
                ("exact_match", 0.0, 0, ""),
                ("truth_ratio", math.nan, None, "16 of 16 facts have no paraphrase."),
            )
        ]
    )


def _attacked(analysis, seeds) -> pd.DataFrame:
    found = []
    for name, back in BACK.items():
        for seed in seeds:
            tables = [attack_table(back), attack_table(0, "quantize", "4 bits")]
            table = analysis(pd.concat(tables, ignore_index=True))
            found.append(table.assign(method=name, run_seed=seed))
    return pd.concat(found, ignore_index=True)


def _retention() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"stratum": stratum, "use": use, "method": "SSIUU", "other": other, "facts": n}
            | {
                "runs": 2,
                "difference": 0.25,
                "low": 0.1,
                "high": 0.4,
                "p": 0.001 if use == "test" else 0.4,
            }
            | {"reading": f"75% of {n} facts are kept by SSIUU, 50% by {other}."}
            for stratum, n in STRATA.items()
            for use in ("retain", "test")
            for other in ("gradient difference", "NPO")
        ]
    )


def _stability(seeds) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": name, "seed": seed, "attack": "relearn-forget 1", "unit": "nats"}
            | {"stopped": "all steps done"}
            | {"pearson": 0.9 - 0.1 * seed, "spearman": 0.7, "n_neurons": 400}
            | {"d_plus": 6.0 + seed, "d_minus": 3.0}
            for name in METHODS
            for seed in seeds
        ]
    )


def moved() -> pd.DataFrame:
    """Neurons of which an attack moved some."""
    rng = np.random.default_rng(0)
    before = rng.standard_normal(400)
    after = before + np.where(np.arange(400) < 40, rng.standard_normal(400), 0)
    place = {"site": "mlp", "layer": np.arange(400) // 100, "neuron": np.arange(400) % 100}
    return pd.DataFrame(place | {"before": before, "after": after})


def _diagnoses(seeds) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"method": name, "seed": seed, "verdict": "hidden" if seed == 0 else "mixed"}
            | {"why": f"{12 - seed} of 16 come back where wrong ones do not."}
            | {"hidden_share": 0.8 - 0.2 * seed, "low": 0.5, "high": 0.9, "reading": "erased"}
            | {"d_plus": 5.0, "d_minus": 2.0 + seed}
            | {"report": f"runs/{name}/{seed}/report.html"}
            for name in METHODS
            for seed in seeds
        ]
    )
