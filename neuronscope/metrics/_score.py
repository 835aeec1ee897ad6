"""The result of a metric: a number with its interval, its counts, and how to interpret it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import stats

from neuronscope.analysis.statistics import (
    RESAMPLES,
    SEED,
    expanded_confidence,
    mean_interval,
    wilson_interval,
)
from neuronscope.results.cache import read_json, write_json
from neuronscope.results.score_table import COLUMNS

Direction = Literal[
    "lower is more forgotten",
    "higher is more forgotten",
    "nearer to chance is more forgotten",
    "lower is more useful",
    "higher is more useful",
]

NO_INTERVAL = (math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Score:
    """One metric of one model on some facts."""

    metric: str
    """Which metric this is: its file name, with the variant if there are several."""

    value: float
    """NaN if undefined; then `reason` says why."""

    ci95: tuple[float, float]
    """95 % interval over facts: Wilson's for a rate, `mean_interval` for a mean; NaN if there is
    none."""

    n: int
    """Number of facts that the value is based on."""

    count: int | None
    """The numerator of a rate, in facts; None if the value is not a rate."""

    unit: str

    direction: Direction

    chance: float | None
    """The value of a model that knows nothing about the facts; None if unknown."""

    per_fact: pd.DataFrame
    """One row per fact: `fact` (its id), `value` (NaN if undefined), and the metric's details."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """Further single numbers."""

    reason: str = ""
    """Why the value, or the value of some facts, is NaN."""

    def __post_init__(self) -> None:
        if math.isnan(self.value) and not self.reason:
            raise ValueError(f"{self.metric}: a NaN value needs a reason, got none.")

    def to_plain(self) -> dict[str, Any]:
        """The score as plain values without NaN, for storage."""
        return vars(self) | {
            "value": _plain(self.value),
            "ci95": [_plain(end) for end in self.ci95],
            "per_fact": {
                name: [_plain(entry) for entry in column.tolist()]
                for name, column in self.per_fact.items()
            },
            "figures": {name: _plain(figure) for name, figure in self.figures.items()},
        }

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> "Score":
        """The score with these plain values."""
        low, high = map(_number, content["ci95"])
        table = pd.DataFrame(content["per_fact"])
        table["value"] = table["value"].astype(np.float64)
        parsed: dict[str, Any] = {
            "value": _number(content["value"]),
            "ci95": (low, high),
            "per_fact": table,
            "figures": {name: _number(figure) for name, figure in content["figures"].items()},
        }
        return cls(**(content | parsed))

    def save(self, path: Path) -> None:
        """Write to `path`, a `.json` file, atomically.

        Raises:
            FileExistsError: If the file exists.
        """
        if path.exists():
            raise FileExistsError(f"'{path}' exists already; choose another name.")
        write_json(path, self.to_plain())

    @classmethod
    def load(cls, path: Path) -> "Score":
        """The score that was saved to a file.

        Raises:
            ValueError: If the file does not hold a score, or is damaged.
        """
        try:
            return cls.from_plain(read_json(path))
        except (KeyError, TypeError, AttributeError, OSError, ValueError) as error:
            raise ValueError(f"{path}: not a complete score ({error}).") from error


def rate_score(
    metric: str,
    facts: Sequence[str],
    right: Bool[np.ndarray, " fact"],
    *,
    direction: Direction,
    chance: float | None,
    more: Mapping[str, Sequence[Any]] | None = None,
) -> Score:
    """The score of a rate: a share of the facts, with its Wilson interval.

    Args:
        facts: The facts' ids.
        more: Further columns of `per_fact`.
    """
    count = int(right.sum())
    return Score(
        metric=metric,
        value=count / len(right),
        ci95=wilson_interval(count, len(right)),
        n=len(right),
        count=count,
        unit="share of facts",
        direction=direction,
        chance=chance,
        per_fact=per_fact(facts, right.astype(np.float64), more),
    )


def mean_score(
    metric: str,
    facts: Sequence[str],
    values: Float[np.ndarray, " fact"],
    *,
    unit: str,
    direction: Direction,
    chance: float | None = None,
    within: tuple[float, float] = (-math.inf, math.inf),
    undefined: str = "are undefined",
    more: Mapping[str, Sequence[Any]] | None = None,
) -> Score:
    """The score of a mean over the facts that have a value, with its interval.

    Args:
        facts: The facts' ids.
        within: The range of possible values.
        undefined: Why some values are NaN, as a predicate of the facts: "have no distractors".
        more: Further columns of `per_fact`.
    """
    defined = values[~np.isnan(values)]
    missing = len(values) - len(defined)
    low, high = mean_interval(defined, within)
    return Score(
        metric=metric,
        value=float(defined.mean()) if len(defined) else math.nan,
        ci95=(float(low), float(high)),
        n=len(defined),
        count=None,
        unit=unit,
        direction=direction,
        chance=chance,
        per_fact=per_fact(facts, values, more),
        reason=f"{missing} of {len(values)} facts {undefined}." if missing else "",
    )


def percentile_interval(
    samples: Sequence[np.ndarray], statistic: Callable[..., np.ndarray], paired: bool = False
) -> tuple[float, float]:
    """95 % bootstrap interval of a statistic of samples; NaN if one has fewer than two entries.

    Args:
        statistic: Function of the samples, redrawn along their last axis, and of `axis`.
        paired: Whether the samples are redrawn jointly.
    """
    fewest = min(map(len, samples))
    if fewest < 2:
        return NO_INTERVAL
    interval = stats.bootstrap(
        tuple(samples),
        statistic,
        paired=paired,
        vectorized=True,
        method="percentile",
        batch=50,
        n_resamples=RESAMPLES,
        confidence_level=expanded_confidence(fewest),
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def table_of(scores: Iterable[tuple[str, Score]]) -> pd.DataFrame:
    """One row per score, given with its split; columns `COLUMNS`."""
    rows = [
        {
            "metric": score.metric,
            "split": split,
            "value": score.value,
            "low": score.ci95[0],
            "high": score.ci95[1],
            "n": score.n,
            "count": score.count,
            "unit": score.unit,
            "chance": math.nan if score.chance is None else score.chance,
            "direction": score.direction,
            "reason": score.reason,
        }
        for split, score in scores
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"count": "Int64"})


def per_fact(
    facts: Sequence[str],
    values: Float[np.ndarray, " fact"],
    more: Mapping[str, Sequence[Any]] | None = None,
) -> pd.DataFrame:
    """A score's table, one row per fact."""
    return pd.DataFrame({"fact": list(facts), "value": values} | dict(more or {}))


def _plain(entry: Any) -> Any:
    """A value as JSON, which has neither NaN nor infinity."""
    if not isinstance(entry, float) or math.isfinite(entry):
        return entry
    return None if math.isnan(entry) else str(entry)


def _number(stored: float | str | None) -> float:
    return math.nan if stored is None else float(stored)
