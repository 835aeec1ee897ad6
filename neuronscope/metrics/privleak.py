"""PrivLeak of MUSE (Shi et al., arXiv 2407.06460): membership inference relative to a reference.

100 · (s − s_ref)/s_ref with s = 1 − AUC of the Min-K% attack. Near 0 is good; negative values mean
that the facts still look like training data (under-unlearned), positive ones that they look less
familiar than facts that were never seen (over-unlearned). The reference is a model that never
learned the facts; without one, s_ref = ½, the value of a model that saw neither set.
"""

import math
from dataclasses import dataclass

from neuronscope.metrics._base import Exam, Metric, Need
from neuronscope.metrics._score import NO_INTERVAL, Score
from neuronscope.metrics.membership_inference import MembershipInference


@dataclass(frozen=True)
class PrivLeak(Metric):
    """By how many percent the facts look less familiar than to a model that never learned them."""

    k: float = 0.4
    """Share of an answer's least likely tokens that is used, as in the MUSE benchmark."""

    @property
    def needs(self) -> tuple[Need, ...]:
        """Facts that no model was trained on."""
        return ("holdout",)

    def measure(self, exam: Exam) -> Score:
        attack = MembershipInference("min-k", self.k)
        ours = attack.measure(exam)
        theirs = 0.5
        if exam.reference is not None:
            other = Exam(exam.reference, exam.facts, exam.form, None, exam.holdout)
            theirs = attack.measure(other).value
        value = privleak(ours.value, theirs)
        low, high = (privleak(end, theirs) for end in reversed(ours.ci95))
        return Score(
            metric="privleak",
            value=value,
            # The sampling error of the reference's AUC is not included.
            ci95=NO_INTERVAL if math.isnan(value) else (low, high),
            n=ours.n,
            count=None,
            unit="%",
            direction="nearer to chance is more forgotten",
            chance=0.0,
            per_fact=ours.per_fact,
            figures={"auc": ours.value, "auc_reference": theirs},
            reason="The reference has an AUC of 1, for which PrivLeak is undefined."
            if math.isnan(value)
            else "",
        )


def privleak(auc: float, reference: float = 0.5) -> float:
    """100 · ((1 − AUC) − (1 − AUC_ref))/(1 − AUC_ref), in %; NaN if AUC_ref is 1.

    An AUC of 1 (looks like training data) gives −100 for any reference.
    """
    return 100 * (reference - auc) / (1 - reference) if reference < 1 else math.nan
