"""The relearning probe: a randomized experiment on whether forgotten answers are still inside.

A memory that can no longer be recalled is relearned with less effort than something new: this is
Ebbinghaus' savings measure. The unlearned model is moved along the gradient of some forgotten
answers at once, and from the same start along the gradient of placebos: wrong answers to the same
prompts. Placebos are the true answers permuted within their relation. If the model never knew the
answers, and nothing in a prompt suggests its answer, any permutation could have been the true one,
so a permutation test decides whether the true answers are learned sooner. The facts form groups of
about eight, each with its own placebo draws. In each group, the true answers and the placebo draws
are candidates. The p-value is the share of all combinations of one candidate per group whose total
effort does not exceed that of the true answers.

The hidden share compares t, the rate of true answers given at some distance, with p, that of
placebos: it is (t − p) / (1 − p), Abbott's correction for chance, at a distance at which at most
40 % of the placebos are learned. An answer of several tokens counts in part: as the share of its
initially wrong tokens that have become right. For each fact, the distance is an early one of those
at which the share of the other facts is close to its largest, so that a true answer does not
influence the distance at which it is evaluated. The share counts answers that return at that
distance: an answer that is still present but needs a larger one counts as gone.

Facts are learned in groups because a single answer is weak evidence: a small weight change can
produce any one output. What a model that never knew the answers cannot do is reach all of them with
a small change. In contrast to a relearning attack, the probe trains on the facts that it evaluates
and hardly moves the weights. No weights of the original model are used.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pandas as pd

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._experiment import (
    Experiment,
    Group,
    HiddenShare,
    hidden_share,
    learned,
    wilson,
)
from neuronscope.evidence._forgotten import undecided, without_value
from neuronscope.evidence._placebos import comparable, groups, placebos, sample
from neuronscope.evidence._probe_limits import echoes, left_out, unrelated
from neuronscope.evidence._relearning import Learner
from neuronscope.facts.fact import Fact
from neuronscope.models.answers import answers_of
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.findings import ITSELF, Figure, Finding, Word

LEVEL = 0.05
"""Level of the test that true answers are learned no sooner than placebos."""

ERASED_TO = 1 / 3
"""If the test is not significant, the verdict is erased only if the upper bound of the hidden share
is at most this. With 16 facts, the bound is about 0.2 if none is present, and more than a third if
a quarter is."""

HALF = 0.5
"""A hidden share above this counts as most of the answers. The verdict is erased only if the model
can learn at least this share of the placebos, at some distance."""

GROUP = 8
"""Number of facts that are learned together, approximately."""

DRAWS = 4
"""Placebo draws per group. With two groups, 1 of the 25 combinations consists of the true answers,
so p can be as low as 0.04."""

DRAWS_OF_ONE = 19
"""Placebo draws of a single group: with the true answers 20 candidates, so p can be 0.05."""

MOST = 64
"""Largest number of facts: the combinations of eight groups can still be enumerated."""

HAVE_PLACEBO = "share their relation with another one whose answer differs"
"""What a fact needs for a placebo, in the reason for a missing verdict."""

MEANING = (
    "share of the forgotten answers relearned at a distance at which at most 40 % of the placebo "
    "answers are learned, corrected for chance"
)


@dataclass(frozen=True)
class RelearningProbe(Evidence):
    """Whether the forgotten answers are relearned sooner than wrong answers to the same prompts."""

    decides: ClassVar[bool] = True

    distances: tuple[float, ...] = tuple(1e-5 * 1.5**k for k in range(20))
    """Distances from the start, ascending, as shares of the norm of the layers' matrices; each is
    reached by one gradient step. Training stops when all answers have been given."""

    most_facts: int = 32
    """Use at most this many forgotten facts (2 to 64), chosen at random: up to eight of each
    relation first, then others. The cost is proportional to their number."""

    seed: int = 0
    """Seed of the placebos and of the chosen facts."""

    def __post_init__(self) -> None:
        if not self.distances or any(a >= b for a, b in pairwise((0.0, *self.distances))):
            raise ValueError(f"Expected distances that ascend from above 0, got {self.distances}.")
        if not 2 <= self.most_facts <= MOST:
            raise ValueError(f"Expected most_facts from 2 to {MOST}, got {self.most_facts}.")

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        no_word = undecided(case)
        forgotten = [
            fact for (_, fact), gone in zip(case.facts, case.forgotten, strict=True) if gone
        ]
        usable = comparable(forgotten, case.form)
        facts = [fact for fact, use in zip(forgotten, usable, strict=True) if use]
        if len(facts) < 2:
            reason = f"Fewer than two forgotten facts {HAVE_PLACEBO}."
            return without_value("relearning_probe", MEANING, no_word or ("cannot tell", reason))
        some = sample(facts, self.most_facts, GROUP, self.seed)
        usable = comparable(some, case.form)
        chosen = [fact for fact, use in zip(some, usable, strict=True) if use]
        if len(chosen) < 2:
            reason = f"Fewer than two of the sampled facts {HAVE_PLACEBO}."
            return without_value("relearning_probe", MEANING, no_word or ("cannot tell", reason))
        finding = self.examine(case.after, chosen, case.form, progress)
        word, why = no_word or (finding.word, finding.why)
        warnings = left_out(len(forgotten), len(facts), len(chosen))
        warnings += echoes(chosen, case.form) + unrelated(chosen, case.form)
        return replace(finding, word=word, why=why, warnings=warnings)

    def examine(
        self,
        after: HookedModel,
        facts: Sequence[Fact],
        form: str = "completion",
        progress: Progress = no_progress,
    ) -> Finding:
        """The finding on facts that are known to be forgotten; arguments as for `experiment`."""
        experiment = self.experiment(after, facts, form, progress)
        share = hidden_share(experiment)
        word, why = _read(experiment, share, self.distances)
        figures: dict[str, Figure] = {
            "p": experiment.p,
            "p_later": experiment.p_later,
            "smallest_p": experiment.smallest_p,
            "facts": experiment.facts,
            "groups": len(experiment.groups),
            "passes": experiment.passes,
        }
        if share is not None:
            figures |= {
                "distance": self.distances[share.step - 1],
                "true_share": share.true,
                "placebo_share": share.placebo,
            }
        return Finding(
            view="relearning_probe",
            word=word,
            value=math.nan if share is None else share.value,
            ci95=(math.nan, math.nan) if share is None else share.ci95,
            meaning=MEANING,
            why=why,
            figures=figures,
            tables={"curve": _table(experiment, self.distances)},
        )

    def experiment(
        self,
        after: HookedModel,
        facts: Sequence[Fact],
        form: str = "completion",
        progress: Progress = no_progress,
    ) -> Experiment:
        """Train on the true answers and on placebos.

        Args:
            after: The unlearned model.
            facts: Two or more facts that are `comparable`, whose answers it does not give.
            form: The prompt form.
            progress: Called after each set of answers.

        Raises:
            ValueError: If, in the probe's precision, the model gives all but at most one of the
                answers, or all wrong answers that could be placebos.
        """
        learner = Learner(after)
        # In the learner's precision, an answer may be given that the model itself does not give.
        given = learner.given(answers_of(after, facts, form))
        facts = [fact for fact, known in zip(facts, given, strict=True) if not known]
        if len(facts) < 2:
            raise ValueError(
                "In the probe's precision, the model gives all but at most one of the answers."
            )
        parts = groups(facts, form, GROUP)
        count = DRAWS_OF_ONE if len(parts) == 1 else DRAWS
        done, total = 0, len(parts) * (1 + count)
        found = []
        for place, part in enumerate(parts):
            draws = placebos(after, learner, part, form).draws(count, (self.seed, place))
            if not draws:
                continue
            known = [(answers_of(after, part, form), None)]
            arms = []
            for encoded, counted in known + [(draw.encoded, draw.wrong) for draw in draws]:
                arms.append(learned(learner, encoded, self.distances, counted))
                done += 1
                progress(done, total)
            found.append(Group(arms[0], tuple(arms[1:])))
        if not found:
            raise ValueError("The model already gives all wrong answers that could be placebos.")
        return Experiment(tuple(found))


def _read(
    experiment: Experiment, share: HiddenShare | None, distances: Sequence[float]
) -> tuple[Word, str]:
    """The verdict and its reason."""
    if experiment.smallest_p > LEVEL:
        return "cannot tell", (
            "So few different assignments of these answers exist that p cannot be "
            f"below {experiment.smallest_p:.2g}. More facts, or more varied ones, are needed."
        )
    if share is None:
        return "cannot tell", (
            f"Moved by {_percent(distances[0])} to {_percent(distances[-1])} of its weights' norm, "
            "the model learns hardly any answers, or most wrong answers in the first step; other "
            "distances are needed."
        )
    rates = (
        f"Moved by {_percent(distances[share.step - 1])} of its weights' norm along the gradient "
        f"of the answers, the model gives {_whole(share.true)} of the {experiment.facts} forgotten "
        f"answers and {_whole(share.placebo)} of wrong answers to the same prompts"
    )
    low, high = share.ci95
    most = _whole(high)
    sooner = f"{rates}; it learns the forgotten answers sooner (p = {experiment.p:.2g})"
    if experiment.p <= LEVEL:
        if low > 0 and high < 1 - 1 / experiment.facts:
            return "mixed", f"{sooner}, but at most {most} of them are still present."
        if low > 0 and share.value > HALF:
            return "hidden", f"{sooner}, and all of them may still be present."
        return "cannot tell", (
            f"{sooner}, but it is uncertain how many are still present ({_whole(low)} to {most})."
        )
    if experiment.p_later <= LEVEL:
        return "cannot tell", (
            f"{rates}; it learns the forgotten answers later (p = {experiment.p_later:.2g}). A "
            "model that does not know them would rarely distinguish them from wrong ones."
        )
    if share.most < HALF:
        return "cannot tell", (
            f"{rates}; it does not learn half of the wrong answers at any distance up to "
            f"{_percent(distances[-1])}, so larger distances are needed."
        )
    chance = (
        f"{rates}; it learns the forgotten answers no sooner than chance explains "
        f"(p = {experiment.p:.2g})"
    )
    if high <= ERASED_TO:
        return "erased", f"{chance}, and at most {most} of the answers could still be present."
    return "cannot tell", f"{chance}, but up to {most} of the answers could still be present."


def _whole(share: float) -> str:
    return f"{100 * share:.0f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _table(experiment: Experiment, distances: Sequence[float]) -> pd.DataFrame:
    """One row per draw (-1: the true answers) and distance, over all groups."""
    rows = []
    most = max(len(group.placebos) for group in experiment.groups)
    for draw in range(ITSELF, most):
        arms = [
            group.true if draw == ITSELF else group.placebos[draw]
            for group in experiment.groups
            if draw < len(group.placebos)
        ]
        for step, distance in enumerate((0.0, *distances)):
            given = np.concatenate([arm.given(step) for arm in arms])
            total = int((~np.isnan(given)).sum())
            if not total:
                continue
            share = float(np.nanmean(given))
            rows.append((draw, distance, round(share * total), total, share, *wilson(share, total)))
    columns = ["control", "distance", "answered", "total", "share", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
