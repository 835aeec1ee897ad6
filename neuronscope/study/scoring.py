"""How a model is scored in a study: answers by stratum, and the metrics that were asked for."""

from collections.abc import Sequence

import pandas as pd

from neuronscope.facts import FactSet
from neuronscope.metrics._base import Metric
from neuronscope.metrics._score import table_of
from neuronscope.models import HookedModel
from neuronscope.strata import USES, answers, counted


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
        `answers`, fact by fact; `strata`, these counted; and, if there are metrics, `scores`.
    """
    given = answers(model, facts, form)
    tables = {"answers": given, "strata": counted(given)}
    scores = [
        (split, metric(model, facts.split(split), form, reference))
        for metric in metrics
        for split in USES
        if facts.split(split)
    ]
    return tables | ({"scores": table_of(scores)} if scores else {})
