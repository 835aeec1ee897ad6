"""The experiment of the relearning probe: how soon true answers and placebos are learned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.ndimage import uniform_filter1d

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.evidence._relearning import Learner
from neuronscope.facts.prompts import Encoded
from neuronscope.results.findings import ITSELF

TINY = 1e-9
"""Efforts that differ by less are equal."""

LEARNED = 0.25
"""If the shares of true answers and of placebos learned are both below this, the probe could not
teach the model anything."""

COMPARED = 0.4
"""Rates are compared only at distances at which at most this share of the placebos is learned."""

TIED = 1 / 8
"""Hidden shares that differ by less are not distinguished when a distance is chosen."""


@dataclass(frozen=True, eq=False)
class Arm:
    """How soon some answers were learned together."""

    steps: Int[np.ndarray, "fact token"]
    """Number of steps after which each token was first right; `taken` + 1 if it never was. Masked
    where the token was right at the start and in the padding of shorter answers."""

    taken: int
    """Number of steps taken."""

    counted: Bool[np.ndarray, " fact"]
    """Which answers count in rates: all true answers; of a placebo draw, those that differ from the
    true answer."""

    @property
    def effort(self) -> float:
        """Mean number of steps per answer."""
        return float(self.steps.mean(axis=1).mean())

    def given(self, step: int) -> Float[np.ndarray, " fact"]:
        """Of the tokens that were wrong at the start, the share right by this step, per answer.

        NaN for answers that do not count.
        """
        rates = (self.steps <= min(step, self.taken)).mean(axis=1).filled(np.nan)
        return np.where(self.counted, rates, np.nan)


@dataclass(frozen=True, eq=False)
class Group:
    """Facts whose answers were learned together."""

    true: Arm
    placebos: tuple[Arm, ...]

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The true answers, and the placebos."""
        return (self.true, *self.placebos)

    @property
    def facts(self) -> int:
        """Number of facts."""
        return len(self.true.steps)


@dataclass(frozen=True, eq=False)
class Experiment:
    """The true answers and the placebos of every group, learned from the same start."""

    groups: tuple[Group, ...]

    @property
    def facts(self) -> int:
        """Number of facts."""
        return sum(group.facts for group in self.groups)

    @property
    def p(self) -> float:
        """P-value of the null hypothesis that true answers are learned no sooner than placebos.

        It is small if they are learned sooner.
        """
        sums = self._sums()
        return float(np.mean(sums <= sums[0] + TINY))

    @property
    def p_later(self) -> float:
        """P-value of the null hypothesis that true answers are learned no later than placebos.

        It is small if they are learned later.
        """
        sums = self._sums()
        return float(np.mean(sums >= sums[0] - TINY))

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that this experiment could have.

        It is large if few different assignments of the answers exist.
        """
        return math.prod(1 / len(group.arms) for group in self.groups)

    def _sums(self) -> Float[np.ndarray, " combination"]:
        """Total effort of each combination of one arm per group; the first is the true answers."""
        efforts = [
            np.array([arm.effort for arm in group.arms]) * group.facts for group in self.groups
        ]
        return reduce(np.add.outer, efforts).ravel()

    @property
    def passes(self) -> float:
        """Number of forward and backward passes over all facts."""
        each = [group.facts * sum(1 + arm.taken for arm in group.arms) for group in self.groups]
        return sum(each) / self.facts

    @property
    def partial(self) -> bool:
        """Whether answers can be learned in part, as several of their tokens were wrong."""
        return any((~np.ma.getmaskarray(g.true.steps)).sum(axis=1).max() > 1 for g in self.groups)

    def learned(self) -> tuple[Float[np.ndarray, "fact step"], Float[np.ndarray, "fact step"]]:
        """Share of each true answer, and of its placebos, given after 1, 2, ... steps."""
        steps = range(1, 1 + max(arm.taken for group in self.groups for arm in group.arms))
        true = [[group.true.given(step) for step in steps] for group in self.groups]
        wrong = [
            [_mean([arm.given(step) for arm in group.placebos]) for step in steps]
            for group in self.groups
        ]
        returned, placebo = np.concatenate(true, axis=1).T, np.concatenate(wrong, axis=1).T
        # An answer that is given at the start, though not in batches of other sizes, has no rate.
        counted = ~np.isnan(returned).any(axis=1)
        return returned[counted], placebo[counted]


def learned(
    learner: Learner,
    encoded: Sequence[Encoded],
    distances: Sequence[float],
    counted: Bool[np.ndarray, " fact"] | None = None,
) -> Arm:
    """Learn answers until all have been given, or the last distance is reached.

    Args:
        counted: The answers that count in rates; all of them by default.
    """
    rights: list[Bool[np.ndarray, "fact token"]] = []
    for right in learner.learn(encoded, distances):
        rights.append(right)
        if np.any(rights, axis=0).all():
            break
    return _arm(rights, np.ones(len(encoded), dtype=bool) if counted is None else counted)


def _arm(
    rights: Sequence[Bool[np.ndarray, "fact token"]], counted: Bool[np.ndarray, " fact"]
) -> Arm:
    """When each token was first right."""
    ever = np.stack([*rights, np.ones_like(rights[0])])
    steps = np.ma.masked_array(ever.argmax(axis=0), mask=rights[0])
    return Arm(steps, len(rights) - 1, counted)


def _mean(given: Sequence[Float[np.ndarray, " fact"]]) -> Float[np.ndarray, " fact"]:
    """Mean over draws in which an answer counts; NaN if it never does."""
    values = np.ma.masked_invalid(given)
    return values.mean(axis=0).filled(np.nan)


@dataclass(frozen=True)
class HiddenShare:
    """The hidden share with what it was computed from."""

    step: int
    """Number of steps after which rates are compared: the median over facts."""

    true: float
    """Rate of true answers given by then."""

    placebo: float
    """Rate of placebos given by then."""

    most: float
    """Rate of placebos given by the last step."""

    value: float
    """(t − q) / (1 − q), at least 0, with t the rate `true` and q the rate `placebo`."""

    ci95: tuple[float, float]
    """Newcombe's 95 % interval of the difference t − q, divided by 1 − q (Newcombe 1998,
    "Interval estimation for the difference between independent proportions", method 10). If t is
    below q, which can only be due to chance, the upper bound is that for t = q, with the margin
    unchanged."""


def hidden_share(experiment: Experiment) -> HiddenShare | None:
    """The hidden share.

    None if there are fewer than two facts, if hardly any answer was learned, true or placebo, if
    the first step already taught more of the placebos than `COMPARED`, or if no placebo differs
    from the true answer.
    """
    true, wrong = experiment.learned()
    if len(true) < 2 or np.isnan(wrong).all():
        return None
    rates = np.nanmean(wrong, axis=0)
    if max(true.mean(axis=0).max(), rates.max()) < LEARNED or rates[0] > COMPARED:
        return None
    steps = _steps_chosen_by_others(true, wrong)
    facts = len(true)
    t, p = float(true[np.arange(facts), steps].mean()), float(rates[steps].mean())
    # Placebo draws of the same facts are not independent, so they add no trials.
    (t_low, t_high), (p_low, p_high) = wilson(t, facts), wilson(p, facts)
    below, above = math.hypot(t - t_low, p_high - p), math.hypot(t_high - t, p - p_low)
    value, low, high = (
        float(np.clip(change / (1 - p), 0, 1))
        for change in (t - p, t - p - below, max(t - p, 0) + above)
    )
    return HiddenShare(1 + int(np.median(steps)), t, p, float(rates[-1]), value, (low, high))


def _steps_chosen_by_others(
    true: Float[np.ndarray, "fact step"], wrong: Float[np.ndarray, "fact step"]
) -> Int[np.ndarray, " fact"]:
    """For each fact, a step at which the hidden share of the others is close to its largest.

    The share is averaged over three steps, so that chance at a single one matters less. The steps
    whose shares differ from the largest by at most 1/8, or by at most 2 / n if that is less (n: the
    number of other facts), are not distinguished; the middle one of them is chosen.
    """
    others = len(true) - 1
    t = (true.sum(axis=0) - true) / others
    rates = np.nanmean(wrong, axis=0)
    p = (rates * len(wrong) - np.where(np.isnan(wrong), rates, wrong)) / others
    share = uniform_filter1d((t - p) / np.maximum(1 - p, TINY), 3, axis=1, mode="nearest")
    share = np.where(rates <= COMPARED, share, -np.inf)
    best = share >= share.max(axis=1, keepdims=True) - min(2 / others, TIED) - TINY
    ties = [np.flatnonzero(row) for row in best]
    return np.array([row[(len(row) - 1) // 2] for row in ties])


def curve(experiment: Experiment, distances: Sequence[float]) -> pd.DataFrame:
    """Answers given at each distance: one row per draw (-1: the true answers) and distance."""
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


def wilson(rate: float, trials: int) -> tuple[float, float]:
    """95 % Wilson interval of a rate; the number of successes is rounded to a whole number."""
    return wilson_interval(round(rate * trials), trials)
