"""The tables of the meta-evaluation: one row per checkpoint, and one per score.

Checkpoints of the same method are alike, so that the bootstrap resamples methods, each with all its
checkpoints. The partial correlation is that of the ranks, after regressing them on the ranks of the
two trivial scores: the log-odds after unlearning, and ‖Δθ‖.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from neuronscope.analysis.statistics import pearson, spearman
from neuronscope.results.cache import read_json

TRIVIAL = ("log_odds", "norm")

RESAMPLES = 2000

Statistic = Callable[[pd.DataFrame], float]


def summarize(names: Sequence[str], results: Path) -> None:
    """Write the two tables next to the folder of results, and print them."""
    rows, costs = [], []
    for name in names:
        path, scored = results / f"{name}.json", results / f"{name}.scores.json"
        row = read_json(path) if path.exists() else {}
        if "attack" not in row:
            continue
        kinds = read_json(scored) if scored.exists() else {}
        same = kinds.pop("fingerprint", None) in (None, row["make"]["fingerprint"])
        scores = {key: value for one in kinds.values() for key, value in one["scores"].items()}
        rows.append(_row(name, row) | {"scored_as_attacked": same} | scores)
        costs += [
            {"score": key, **{name: one[name] for name in ("seconds", "forward", "backward")}}
            for one in kinds.values()
            for key in one["scores"]
        ]
    table = pd.DataFrame(rows)
    table.to_csv(results.with_suffix(".csv"), index=False)
    answering, stuck = table["forget_answered"] > 0, ~table["attack_learned"]
    print(
        f"{len(table)} checkpoints are attacked; left out below: {answering.sum()} that still "
        f"answer, and {(stuck & ~answering).sum()} that the attack does not teach its own facts."
    )
    if not costs:
        return
    table, scores = (
        table.loc[~answering & ~stuck],
        list(dict.fromkeys(one["score"] for one in costs)),
    )
    medians = pd.DataFrame(costs).groupby("score").median()
    found = pd.DataFrame([{"score": score} | correlation(table, score) for score in scores])
    found = found.merge(medians, on="score").sort_values("rho", key=abs, ascending=False)
    found.to_csv(results.with_name(f"{results.name}_scores.csv"), index=False)
    print(found.round(2).to_string(index=False))


def _row(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """What was done to a checkpoint, and what came of it."""
    one, made, hit = row["checkpoint"], row["make"], row["attack"]
    reached = {
        f"attacked_answered_at_{run['learning_rate']:g}": run["answered_at"] for run in hit["runs"]
    }
    grid = row.get("grid")
    return {
        "checkpoint": name,
        **{key: one[key] for key in ("method", "relation", "depth", "seed")},
        "recipe": json.dumps(one["recipe"]),
        **{key: value for key, value in made.items() if key not in ("forget", "fingerprint")},
        "attack_seconds": hit["seconds"],
        **reached,
        "attack_learned": any(at is not None for at in reached.values()),
        "recovered": hit["recovered"],
        "recovered_of": hit["of"],
        "recovery": hit["recovered"] / hit["of"],
        "recovery_at_once": _at_once(hit["runs"]),
        "grid_recovery": None if grid is None else grid["recovered"] / grid["of"],
    }


def _at_once(runs: Sequence[dict[str, Any]]) -> float:
    """The share of held-out facts answered as soon as the attacked ones are; mean over rates."""
    learned = [run for run in runs if run["answered_at"] is not None]
    shares = [run["rest"][run["answered_at"]] / run["rest_of"] for run in learned]
    return float(np.mean(shares)) if shares else np.nan


def correlation(table: pd.DataFrame, score: str) -> dict[str, float]:
    """The correlations of a score with recovery, over the checkpoints that have it."""
    given = [name for name in TRIVIAL if name != score]
    table = table.dropna(subset=[score, *given])

    def rho(part: pd.DataFrame) -> float:
        return spearman(part[score].to_numpy(), part["recovery"].to_numpy())

    def partial(part: pd.DataFrame) -> float:
        return partial_spearman(part[score], part["recovery"], part[given])

    low, high = interval(table, rho)
    partial_low, partial_high = interval(table, partial)
    without = [rho(table.loc[table["method"] != method]) for method in table["method"].unique()]
    return {
        "checkpoints": len(table),
        "rho": rho(table),
        "low": low,
        "high": high,
        "partial": partial(table),
        "partial_low": partial_low,
        "partial_high": partial_high,
        "rho_at_once": spearman(table[score].to_numpy(), table["recovery_at_once"].to_numpy()),
        "lowest_without_a_method": float(np.min(without)) if without else np.nan,
        "highest_without_a_method": float(np.max(without)) if without else np.nan,
    }


def partial_spearman(x: pd.Series, y: pd.Series, given: pd.DataFrame) -> float:
    """Rank correlation of what the ranks of `given` do not explain linearly."""
    ranks = np.column_stack([np.ones(len(x)), *(stats.rankdata(given[name]) for name in given)])
    if len(x) <= ranks.shape[1]:
        return np.nan

    def rest(values: Float[np.ndarray, " checkpoint"]) -> Float[np.ndarray, " checkpoint"]:
        return values - ranks @ np.linalg.lstsq(ranks, values, rcond=None)[0]

    return pearson(rest(stats.rankdata(x)), rest(stats.rankdata(y)))


def interval(table: pd.DataFrame, statistic: Statistic) -> tuple[float, float]:
    """95 % percentile interval over resampled methods."""
    rng = np.random.default_rng(0)
    groups = list(table.groupby("method").indices.values())
    if len(groups) < 2:
        return np.nan, np.nan
    drawn = [
        statistic(table.iloc[np.concatenate([groups[i] for i in chosen])])
        for chosen in rng.integers(len(groups), size=(RESAMPLES, len(groups)))
    ]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)
