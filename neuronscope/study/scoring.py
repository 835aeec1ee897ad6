"""How a model is scored in a study: answers by stratum, and the metrics that were asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from neuronscope.facts import SPLITS, FactSet
from neuronscope.metrics._base import Metric
from neuronscope.metrics._score import table_of
from neuronscope.models import HookedModel
from neuronscope.strata import answers, counted


def score_model(
    model: HookedModel,
    facts: FactSet,
    metrics: Sequence[Metric],
    form: str,
    reference: HookedModel | None,
) -> dict[str, pd.DataFrame]:
    """Tables of one model, by name.

    Args:
        reference: A model that never knew the facts, for metrics that compare with one.

    Returns:
        `answers`, fact by fact; `strata`, these counted; and, if there are metrics, `scores` of
        every split of which they can be had.
    """
    given = answers(model, facts, form)
    tables = {"answers": given, "strata": counted(given)}
    scores = [
        (split, metric(model, facts.split(split), form, reference))
        for metric in metrics
        for split in fit_of(metric, facts, reference).splits
    ]
    return tables | ({"scores": table_of(scores)} if scores else {})


@dataclass(frozen=True)
class Fit:
    """Where a metric can be had."""

    splits: tuple[str, ...]

    left_out: tuple[str, ...]
    """A sentence for each other split that has facts."""


def fit_of(metric: Metric, facts: FactSet, reference: HookedModel | str | None) -> Fit:
    """The splits of which a metric can be had.

    Args:
        reference: As for `score_model`, or its source while it is not loaded.

    Raises:
        ValueError: If there is none, with what is missing.
    """
    fit, left_out = [], []
    for split in (split for split in SPLITS if facts.split(split)):
        try:
            metric.check(facts.split(split), reference, ())
            fit.append(split)
        except ValueError as error:
            left_out.append(f"Of split {split}, {error}")
    if not fit:
        raise ValueError(f"A metric cannot be had of any split. {left_out[0]}")
    return Fit(tuple(fit), tuple(left_out))
