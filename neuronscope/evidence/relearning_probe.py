"""The relearning probe: a randomized experiment on whether forgotten answers are still inside.

A memory that can no longer be recalled is relearned with less effort than something new: this is
Ebbinghaus' savings measure. The unlearned model is moved along the gradient of some forgotten
answers at once, and from the same start along the gradient of placebos: answers to the same prompts
that are drawn at random and are mostly wrong. Placebos are the true answers permuted within their
relation or, in the multiple-choice form, random options of each prompt. If the model never knew the
answers, and nothing suggests them (neither the prompt itself nor, among options, their
plausibility), any such assignment could have been the true one, so a permutation test decides
whether the true answers are learned sooner. The facts form groups of about eight, each with its own
placebo draws. In each group, the true answers and the placebo draws are candidates. The p-value is
the share of all combinations of one candidate per group whose total effort does not exceed that of
the true answers.

The hidden share compares t, the rate of true answers given at some distance, with q, that of
placebos: it is (t − q) / (1 − q), Abbott's correction for chance, at a distance at which at most
40 % of the placebos are learned. An answer of several tokens counts in part: as the share of its
initially wrong tokens that have become right. Each fact's distance is one at which the share of the
other facts is close to its largest, so that a true answer does not influence the distance at which
it is evaluated. The share counts answers that return by then: an answer that is still present but
needs a larger distance counts as gone.

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

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._forgotten import undecided, without_value
from neuronscope.evidence._placebos import comparable, groups, placebos, sample
from neuronscope.evidence._probe_experiment import (
    Experiment,
    Group,
    HiddenShare,
    curve,
    hidden_share,
    learned,
)
from neuronscope.evidence._probe_limits import (
    dominated,
    echoes,
    left_out,
    not_probed,
    repeats,
    unrelated,
)
from neuronscope.evidence._relearning import Learner
from neuronscope.facts.fact import Fact
from neuronscope.models.answers import answers_of
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.findings import Figure, Finding, Word

LEVEL = 0.05
"""Significance level of the test whether true answers are learned sooner than placebos."""

ERASED_TO = 1 / 3
"""If the test is not significant, the verdict is erased only if the upper bound of the hidden share
is at most this. The bound shrinks with the number of facts: with seven or fewer it is never below a
third. With 16 facts it is about 0.2 if neither a true answer nor a placebo is learned at the chosen
distance, 0.38 if a quarter of both is, and about 0.5 if only a quarter of the true answers is."""

HALF = 0.5
"""A hidden share above this counts as most of the answers. The verdict is erased only if the model
can learn at least this share of the placebos, at some distance."""

GROUP = 8
"""Number of facts that are learned together, approximately."""

DRAWS = 4
"""Placebo draws per group. With two groups, 1 of the 25 combinations consists of the true answers,
so the p-value can be as low as 0.04. Groups get more draws if it could otherwise not be as low as
`LEVEL`: a single group gets 19."""

MOST_DRAWS = round(1 / LEVEL) - 1
"""Maximum number of placebo draws per group."""

MOST = 64
"""Largest number of facts: the combinations of eight groups can still be enumerated."""

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
        if no_word := undecided(case):
            return _not_measured(no_word)
        forgotten = [
            fact for (_, fact), gone in zip(case.facts, case.forgotten, strict=True) if gone
        ]
        usable = comparable(forgotten, case.form)
        chosen = comparable(sample(usable, self.most_facts, GROUP, self.seed), case.form)
        if repeated := repeats(chosen, case.form):
            return _not_measured(("cannot tell", repeated))
        if len(chosen) < 2:
            reason = (
                "Fewer than two forgotten facts have a possible placebo: another forgotten fact of "
                "the same relation with a different answer."
            )
            return _not_measured(("cannot tell", reason))
        finding = self.examine(case.after, chosen, case.form, progress)
        warnings = left_out(len(forgotten), len(usable), len(chosen))
        warnings += echoes(chosen, case.form) + unrelated(chosen, case.form)
        warnings += dominated(chosen, case.form)
        return replace(finding, warnings=warnings + finding.warnings)

    def examine(
        self,
        after: HookedModel,
        facts: Sequence[Fact],
        form: str = "completion",
        progress: Progress = no_progress,
    ) -> Finding:
        """The finding on facts that are known to be forgotten; arguments as for `experiment`."""
        experiment = self.experiment(after, facts, form, progress)
        if not experiment.groups:
            reason = (
                "The facts whose answers the model does not give in the numerical precision of the "
                "probe have no possible placebos, or there are fewer than two of them."
            )
            return _not_measured(("cannot tell", reason))
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
            tables={"curve": curve(experiment, self.distances)},
            warnings=not_probed(len(facts) - experiment.facts),
        )

    def experiment(
        self,
        after: HookedModel,
        facts: Sequence[Fact],
        form: str = "completion",
        progress: Progress = no_progress,
    ) -> Experiment:
        """Train on the true answers and on placebos.

        Facts whose answer the model gives in the probe's precision are left out, and so are groups
        without a possible placebo; the experiment may be left without any group.

        Args:
            after: The unlearned model.
            facts: Two or more `comparable` facts whose answers the unlearned model does not give.
            form: The prompt form.
            progress: Called after each set of answers.
        """
        learner = Learner(after)
        given = learner.given(answers_of(after, facts, form))
        unknown = [fact for fact, known in zip(facts, given, strict=True) if not known]
        parts, drawn = [], []
        for place, part in enumerate(groups(unknown, form, GROUP)):
            found = placebos(learner, part, form).draws(MOST_DRAWS, (self.seed, place))
            if found:
                parts.append(part)
                drawn.append(found)
        counts = _counts([len(found) for found in drawn])
        done, total = 0, sum(1 + count for count in counts)
        made = []
        for part, found, count in zip(parts, drawn, counts, strict=True):
            arms = []
            candidates = [(answers_of(after, part, form), None)]
            candidates += [(draw.encoded, draw.wrong) for draw in found[:count]]
            for encoded, counted in candidates:
                arms.append(learned(learner, encoded, self.distances, counted))
                done += 1
                progress(done, total)
            made.append(Group(arms[0], tuple(arms[1:])))
        return Experiment(tuple(made))


def _counts(possible: Sequence[int]) -> list[int]:
    """How many placebo draws to use per group, from the numbers of possible ones."""
    counts = [min(DRAWS, most) for most in possible]
    while math.prod(1 + count for count in counts) < 1 / LEVEL:
        more = [k for k, most in enumerate(possible) if counts[k] < most]
        if not more:
            break
        counts[min(more, key=lambda k: counts[k])] += 1
    return counts


def _not_measured(verdict: tuple[Word, str]) -> Finding:
    return without_value("relearning_probe", MEANING, verdict)


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
            f"Either hardly any answer is learned at distances of {_percent(distances[0])} to "
            f"{_percent(distances[-1])} of the weights' norm, or more than 40 % of the wrong "
            "answers are learned at the first of them; use larger or smaller distances."
        )
    tokens = " tokens" if experiment.partial else ""
    rates = (
        f"Moved by about {_percent(distances[share.step - 1])} of its weights' norm along the "
        f"gradient of the {experiment.facts} forgotten answers, the model learns "
        f"{_whole(share.true)} of these{tokens}; moved as far along that of wrong answers to the "
        f"same prompts, it learns {_whole(share.placebo)} of those{tokens}"
    )
    low, high = share.ci95
    most = _whole(high)
    sooner = f"{rates}; it learns the forgotten answers sooner (p = {experiment.p:.2g})"
    if experiment.p <= LEVEL:
        if low > 0 and high < 1 - 1 / experiment.facts:
            return "mixed", f"{sooner}, but at most {most} of them."
        if low > 0 and share.value > HALF:
            return "hidden", f"{sooner}, possibly all of them."
        return "cannot tell", f"{sooner}, but it is uncertain how many ({_whole(low)} to {most})."
    if experiment.p_later <= LEVEL:
        return "cannot tell", (
            f"{rates}; it learns the forgotten answers later (p = {experiment.p_later:.2g}). This "
            "would be rare in a model that does not know them, so it is no sign of erasure."
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
        return "erased", f"{chance}; at most {most} of them may be learned sooner."
    return "cannot tell", f"{chance}; but up to {most} of them may be learned sooner."


def _whole(share: float) -> str:
    return f"{100 * share:.0f} %"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
