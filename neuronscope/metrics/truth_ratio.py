"""The truth ratio of TOFU (Maini et al., arXiv 2401.06121): P(wrong)/P(right), per fact.

P of an answer is the geometric mean over its tokens. P(wrong) is the geometric mean of P over the
distractors, and P(right) that over the fact's paraphrased answers, as in TOFU, or P of the answer
if there are none. The literature uses one name for three different means; here each has its own.

| aggregation | value of one fact with ratio r | score |
|---|---|---|
| `forget` | min(r, 1/r): 1 if right and wrong are equally likely | `truth_ratio_forget` |
| `utility` | max(0, 1 − r): 1 if wrong answers are ruled out | `truth_ratio_utility` |
| `share` | 1/(1 + r) = P(right)/(P(right) + P(wrong)) | `truth_ratio_share` |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from neuronscope.facts.fact import Fact
from neuronscope.metrics._answers import options, per_text
from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._score import Direction, Score, mean_score
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import log_prob

Aggregation = Literal["forget", "utility", "share"]

_READ: dict[Aggregation, tuple[Direction, float | None]] = {
    "forget": ("higher is more forgotten", None),
    "utility": ("higher is more useful", None),
    "share": ("lower is more forgotten", 0.5),
}


@dataclass(frozen=True)
class TruthRatio(Metric):
    """How likely wrong answers are compared with the right one."""

    aggregation: Aggregation = "forget"
    """What is averaged over facts, with r the ratio of wrong to right: min(r, 1/r) (forget),
    max(0, 1 − r) (utility), or 1/(1 + r) (share)."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """Distractors."""
        return ("distractors",)

    def texts(self, fact: Fact, form: str) -> tuple[str, ...]:
        return right_texts(fact, form) + wrong_texts(fact, form)

    def measure(self, exam: Exam) -> Score:
        logs = log_truth_ratios(exam.model, exam.facts, exam.form)
        direction, chance = _READ[self.aggregation]
        return mean_score(
            f"truth_ratio_{self.aggregation}",
            exam.ids,
            aggregated(logs, self.aggregation),
            unit="ratio of probabilities" if self.aggregation == "forget" else "share",
            within=(0.0, 1.0),
            direction=direction,
            chance=chance,
            more={"log_truth_ratio": logs.tolist()},
        )


def log_truth_ratios(
    model: HookedModel, facts: Sequence[Fact], form: str
) -> Float[np.ndarray, " fact"]:
    """Log P(wrong)/P(right) for each fact, in nats per token."""
    right, wrong = ([texts(fact, form) for fact in facts] for texts in (right_texts, wrong_texts))
    rights, wrongs = (per_text(model, facts, texts, form, log_prob) for texts in (right, wrong))
    return np.array([log_truth_ratio(*both) for both in zip(rights, wrongs, strict=True)])


def right_texts(fact: Fact, form: str) -> tuple[str, ...]:
    """The right answers; in a multiple choice, only the one that the prompt lists."""
    if form == "multiple_choice":
        return (fact.answer,)
    return fact.paraphrased_answers or (fact.answer,)


def wrong_texts(fact: Fact, form: str) -> tuple[str, ...]:
    """The wrong answers."""
    return options(fact, form)[1:]


def log_truth_ratio(
    right: Sequence[Float[np.ndarray, " _token"]], wrong: Sequence[Float[np.ndarray, " _token"]]
) -> float:
    """Mean log-probability per token averaged over wrong answers, minus that over right ones.

    Args:
        right: Log-probabilities of the tokens of each right answer.
        wrong: The same for each wrong answer.
    """
    wrongs, rights = ([tokens.mean() for tokens in texts] for texts in (wrong, right))
    return float(np.mean(wrongs) - np.mean(rights))


def aggregated(
    logs: Float[np.ndarray, " fact"], aggregation: Aggregation
) -> Float[np.ndarray, " fact"]:
    """The aggregated value of each log ratio, without computing ratios that could overflow."""
    if aggregation == "forget":
        return np.exp(-np.abs(logs))
    if aggregation == "utility":
        return -np.expm1(np.minimum(logs, 0.0))
    return expit(-logs)
