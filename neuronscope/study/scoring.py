"""How a model is scored in a study: answers by stratum, and the metrics that were asked for."""

import math
from collections.abc import Sequence

import pandas as pd

from neuronscope.facts import Fact, FactSet
from neuronscope.metrics._base import Metric
from neuronscope.models import HookedModel

SPLITS = ("forget", "retain", "test")


def score_model(
    model: HookedModel,
    facts: FactSet,
    metrics: Sequence[Metric],
    form: str,
    reference: HookedModel | None,
) -> dict[str, pd.DataFrame]:
    """Tables of one model: `scores`, one row per metric and split.

    Args:
        reference: A model that never knew the facts, for metrics that compare with one.
    """
    rows = []
    for metric in metrics:
        for split in SPLITS:
            asked = facts.split(split)
            if asked:
                rows.append(_row(metric, model, asked, form, reference, split))
    return {"scores": pd.DataFrame(rows)}


def _row(
    metric: Metric,
    model: HookedModel,
    facts: Sequence[Fact],
    form: str,
    reference: HookedModel | None,
    split: str,
) -> dict[str, object]:
    score = metric(model, facts, form, reference)
    return {
        "metric": score.metric,
        "split": split,
        "value": score.value,
        "low": score.ci95[0],
        "high": score.ci95[1],
        "n": score.n,
        "count": math.nan if score.count is None else float(score.count),
        "unit": score.unit,
        "chance": math.nan if score.chance is None else score.chance,
        "direction": score.direction,
        "reason": score.reason,
    }
