"""Model utility of TOFU (Maini et al., arXiv 2401.06121): a harmonic mean of scores.

It is zero if one score is zero. TOFU uses nine scores: probability, ROUGE-L recall and truth ratio
on retained facts, on real authors and on world facts; for the last two, the probability is
normalised over the options. Score the three sets, and combine the scores with `model_utility`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
from scipy import stats

from neuronscope.facts.fact import Fact
from neuronscope.metrics._answers import options
from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._score import Score, percentile_interval
from neuronscope.metrics.answer_probability import AnswerProbability
from neuronscope.metrics.rouge_l import RougeL
from neuronscope.metrics.truth_ratio import TruthRatio


@dataclass(frozen=True)
class ModelUtility(Metric):
    """Harmonic mean of the answers' probability, ROUGE-L recall and truth ratio."""

    generates: ClassVar[bool] = True

    probability: Literal["per-token", "among-options"] = "per-token"
    """The answer's per-token probability (for retained facts), or normalised over the answer and
    its distractors (for real authors and world facts)."""

    max_new_tokens: int = 200
    """Maximum number of tokens generated for ROUGE-L, as in the TOFU benchmark."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """Distractors."""
        return ("distractors",)

    def texts(self, fact: Fact, form: str) -> tuple[str, ...]:
        return (*options(fact, form), *fact.paraphrased_answers)

    def measure(self, exam: Exam) -> Score:
        parts = (
            AnswerProbability(self.probability),
            RougeL(max_new_tokens=self.max_new_tokens),
            TruthRatio("utility"),
        )
        return model_utility([part.measure(exam) for part in parts])


def model_utility(scores: Sequence[Score]) -> Score:
    """The harmonic mean of scores that are means over facts, with its bootstrap interval.

    The bootstrap draws facts jointly for all scores of the same facts.

    Raises:
        ValueError: If there are no scores, or one is negative or not a mean over facts.
    """
    if not scores:
        raise ValueError("Expected at least one score to take the harmonic mean of, got none.")
    for score in scores:
        values = score.per_fact["value"].to_numpy(float)
        if math.isnan(score.value) or not math.isclose(np.nanmean(values), score.value):
            raise ValueError(
                f"{score.metric}: expected a mean over facts, got {score.value}; leave it out."
            )
    value = float(stats.hmean([score.value for score in scores]))
    tables = [score.per_fact[["fact", "value"]].assign(metric=score.metric) for score in scores]
    table = pd.concat(tables, ignore_index=True)
    return Score(
        metric="model_utility",
        value=value,
        ci95=_interval(scores),
        n=table["fact"].nunique(),
        count=None,
        unit="harmonic mean",
        direction="higher is more useful",
        chance=None,
        per_fact=table,
    )


def _interval(scores: Sequence[Score]) -> tuple[float, float]:
    """Bootstrap interval; each set's facts are drawn once, for all scores of that set."""
    sets: dict[tuple[str, ...], list[np.ndarray]] = {}
    for score in scores:
        values = score.per_fact["value"].to_numpy(float)
        sets.setdefault(tuple(score.per_fact["fact"]), []).append(values)
    tables = [np.stack(columns) for columns in sets.values()]

    def utility(*drawn: np.ndarray, axis: int) -> np.ndarray:
        del axis  # the last
        means = [
            np.nanmean(table[:, facts.astype(int)], axis=-1)
            for table, facts in zip(tables, drawn, strict=True)
        ]
        return stats.hmean(np.concatenate(means), axis=0)

    return percentile_interval([np.arange(table.shape[1]) for table in tables], utility)
