"""How a model is scored in a study: answers by stratum, and the metrics that were asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from neuronscope.analysis.retention import counted
from neuronscope.facts.fact import SPLITS, Fact, FactSet
from neuronscope.metrics import Metric, answers, table_of
from neuronscope.models.hooked_model import HookedModel


def score_model(
    model: HookedModel,
    facts: FactSet,
    metrics: Sequence[Metric],
    form: str,
    reference: HookedModel | None,
    holdout_split: str | None = None,
) -> dict[str, pd.DataFrame]:
    """Tables of one model, by name.

    Args:
        reference: A model that never knew the facts, for metrics that compare with one.
        holdout_split: The split whose facts no model saw, for metrics that compare with those.

    Returns:
        `answers`, fact by fact; `strata`, these counted; and, if there are metrics, `scores` of
        every split of which they can be had.
    """
    given = answers(model, facts, form)
    tables = {"answers": given, "strata": counted(given)}
    held = _held(facts, holdout_split)
    scores = [
        (split, metric(model, facts.split(split), form, reference, held))
        for metric in metrics
        for split in fit_of(metric, facts, reference, holdout_split).splits
    ]
    return tables | ({"scores": table_of(scores)} if scores else {})


@dataclass(frozen=True)
class Fit:
    """Where a metric can be had."""

    splits: tuple[str, ...]

    left_out: tuple[str, ...]
    """A sentence for each other split that has facts."""


def fit_of(
    metric: Metric,
    facts: FactSet,
    reference: HookedModel | str | None,
    holdout_split: str | None = None,
) -> Fit:
    """The splits of which a metric can be had.

    Args:
        reference: As for `score_model`, or its source while it is not loaded.
        holdout_split: As for `score_model`; its facts are not held against themselves.

    Raises:
        ValueError: If there is none, with what is missing.
    """
    fit, left_out = [], []
    compares = "holdout" in metric.needs
    asked = [s for s in SPLITS if facts.split(s) and not (compares and s == holdout_split)]
    for split in asked:
        try:
            metric.check(facts.split(split), reference, _held(facts, holdout_split))
            fit.append(split)
        except ValueError as error:
            left_out.append(f"Of split {split}, {error}")
    if not fit:
        raise ValueError(" ".join(["A metric cannot be had of any split.", *left_out[:1]]))
    return Fit(tuple(fit), tuple(left_out))


def _held(facts: FactSet, holdout_split: str | None) -> tuple[Fact, ...]:
    return () if holdout_split is None else facts.split(holdout_split)
