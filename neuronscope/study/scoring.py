"""How a model is scored in a study: answers by stratum, and the metrics that were asked for."""

from collections.abc import Sequence

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
        for split in splits_of(metric, facts, reference)
    ]
    return tables | ({"scores": table_of(scores)} if scores else {})


def splits_of(
    metric: Metric, facts: FactSet, reference: HookedModel | str | None
) -> tuple[str, ...]:
    """The splits of which a metric can be had.

    Args:
        reference: As for `score_model`, or its source while it is not loaded.

    Raises:
        ValueError: If there is none, with what is missing.
    """
    fit, flaws = [], []
    for split in (split for split in SPLITS if facts.split(split)):
        try:
            metric.check(facts.split(split), reference, ())
            fit.append(split)
        except ValueError as error:
            flaws.append(f"{split}: {error}")
    if not fit:
        raise ValueError(f"A metric cannot be had of any split. {flaws[0]}")
    return tuple(fit)
