"""Forget quality of TOFU (Maini et al., arXiv 2401.06121): is the model like one that never knew?

The p-value of a two-sample Kolmogorov-Smirnov test between the truth ratios of the model and those
of a reference that never learned the facts. It depends on the number of facts: compare p-values
only over equally many facts, or use the distance, which does not.
"""

import math
from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float
from scipy import stats

from neuronscope.facts.fact import Fact
from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._score import NO_INTERVAL, Score, per_fact
from neuronscope.metrics.truth_ratio import log_truth_ratios, right_texts, wrong_texts


@dataclass(frozen=True)
class ForgetQuality(Metric):
    """p-value for equal truth ratios of the model and of one that never learned the facts."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """Distractors, and a model that never learned the facts."""
        return ("distractors", "reference")

    def texts(self, fact: Fact, form: str) -> tuple[str, ...]:
        return right_texts(fact, form) + wrong_texts(fact, form)

    def measure(self, exam: Exam) -> Score:
        model = log_truth_ratios(exam.model, exam.facts, exam.form)
        reference = log_truth_ratios(exam.compared(), exam.facts, exam.form)
        p_value, distance = forget_quality(model, reference)
        return Score(
            metric="forget_quality",
            value=p_value,
            ci95=NO_INTERVAL,
            n=len(model),
            count=None,
            unit="p-value",
            direction="higher is more forgotten",
            chance=None,
            per_fact=per_fact(exam.ids, model, {"reference": reference.tolist()}),
            figures={
                "ks_distance": distance,
                "log10_p": math.log10(p_value) if p_value else -math.inf,
            },
        )


def forget_quality(
    model: Float[np.ndarray, " fact"], reference: Float[np.ndarray, " other"]
) -> tuple[float, float]:
    """p-value and distance of the two-sample Kolmogorov-Smirnov test.

    Args:
        model: Truth ratios, or their logarithms, since the test depends only on their order.
        reference: The same for the model that never learned the facts.
    """
    distance, p_value = cast(tuple[float, float], stats.ks_2samp(model, reference))
    return float(p_value), float(distance)
