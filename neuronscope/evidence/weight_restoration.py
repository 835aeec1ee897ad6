"""Weight restoration: what comes back when neurons get the weights back that they had before.

Neurons of `mlp.post` are restored in the model after, first to last by a ranking, beside random
neurons that are matched to it: as many of each layer and of each quantile bin of ‖Δθ‖. A ranking's
*causal score* is where its curve runs between random (0) and all neurons (1). The *minimal set* is
the smallest prefix that brings half of the forgotten answers back.

Restoring enough always brings the answers back, so the curve itself says nothing about hiding. What
does: many different answers that come back together when something too small to hold them is
restored, where random neurons bring none. The reverse proves nothing, since training spreads its
changes thin.

Passes are what it costs, one over the forgotten facts each. With 6 rankings, 6 sizes and 5 draws:
37 for the rankings, 60 for the controls of the two best, 60 for those of the other four at every
second size, and about 20 for the minimal set.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int

from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._causal_score import causal_score
from neuronscope.evidence._controls import alike, by_layer_and_size, change_norms
from neuronscope.evidence._curves import Curve, check_rankings, ranked
from neuronscope.evidence._forgotten import ENOUGH, undecided
from neuronscope.evidence._restoring import Step, restore, smallest_prefix
from neuronscope.evidence._weight_restoration_finding import (
    Contender,
    Minimal,
    finding,
    nothing_forgotten,
)
from neuronscope.results.findings import Finding

FINALISTS = 2
"""Rankings, the best by their causal scores, that a minimal set is looked for in."""

BISECTION = 7
"""Passes that a minimal set takes, to tell progress by: a third of a decade, to within 5 %."""


@dataclass(frozen=True)
class WeightRestoration(Evidence):
    """Answers that come back with the own weights of few neurons, beside matched random ones."""

    needs_rankings: ClassVar[bool] = True

    smallest: float = 0.001
    """Share of the neurons in the first set."""

    largest: float = 0.25
    """Share in the last set but all."""

    steps: int = 6
    """Number of sets from the smallest to the largest, evenly on a log scale."""

    draws: int = 5
    """Random draws beside each ranking."""

    thorough: int = 2
    """Rankings, the best by their own curves, whose controls are measured at every size."""

    bins: int = 10
    """Quantile bins of the weight change, of each layer, that controls are matched in."""

    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.largest < 1:
            raise ValueError(
                f"Expected 0 < smallest <= largest < 1, got {self.smallest} and {self.largest}."
            )
        if self.steps < 1 or self.draws < 2 or self.thorough < 1 or self.bins < 1:
            raise ValueError(
                "Expected steps, thorough and bins of 1 or more and draws of 2 or more, got "
                f"{self.steps}, {self.thorough}, {self.bins} and {self.draws}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        norms = change_norms(case.before, case.after)
        check_rankings(case, *norms.shape)
        undecided_word = undecided(case)
        if not case.forgotten.any():
            assert undecided_word is not None, "nothing can come back"
            return nothing_forgotten(norms.size, *undecided_word)
        rankings = {"weight_change": norms} | dict(case.rankings or {})
        total = self._passes(len(rankings), len(self._sizes(norms.size)))
        done = itertools.count(1)
        trial = _Trial(self, case, norms, lambda: progress(min(next(done), total), total))
        contenders = trial.contenders(rankings)
        minimal = trial.minimal(contenders[:FINALISTS])
        progress(total, total)
        return finding(case, norms.size, contenders, minimal, undecided_word)

    def _sizes(self, neurons: int) -> Int[np.ndarray, " size"]:
        shares = np.geomspace(self.smallest, self.largest, self.steps)
        return np.unique(np.clip(np.rint(shares * neurons), 1, neurons - 1).astype(int))

    def _passes(self, rankings: int, sizes: int) -> int:
        """How many there will be, about: bisection takes as many as it takes."""
        thorough = min(self.thorough, rankings)
        controls = thorough * sizes + (rankings - thorough) * math.ceil(sizes / 2)
        searches = min(FINALISTS, rankings) * BISECTION + self.draws
        return 1 + rankings * sizes + self.draws * controls + searches


@dataclass(frozen=True, eq=False)
class _Trial:
    """Passes over the forgotten facts."""

    settings: WeightRestoration
    case: Case
    norms: Float[np.ndarray, "layer neuron"]
    step: Step

    def contenders(
        self, rankings: Mapping[str, Float[np.ndarray, "layer neuron"]]
    ) -> list[Contender]:
        """All rankings, best causal score first."""
        sizes = self.settings._sizes(self.norms.size)
        orders = {name: ranked(scores) for name, scores in rankings.items()}
        everyone = np.arange(self.norms.size)
        # Where all neurons are restored, all rankings meet.
        end = restore(self.case, everyone, np.array([everyone.size]), self.step)
        curves = {
            name: restore(self.case, order, sizes, self.step).to(end)
            for name, order in orders.items()
        }
        by_curve = sorted(curves, key=lambda name: curves[name].recovered.mean(), reverse=True)
        found = []
        for place, name in enumerate(by_curve):
            # The largest matters most, and none brings nothing back: every second from the end.
            measured = sizes if place < self.settings.thorough else sizes[::-2][::-1]
            controls = [curve.to(end) for curve in self.random(orders[name], measured)]
            score = causal_score(curves[name], controls)
            found.append(Contender(name, orders[name], curves[name], controls, score))
        return sorted(found, key=lambda one: one.score.merit, reverse=True)

    def minimal(self, contenders: list[Contender]) -> Minimal | None:
        """The smaller of the contenders' minimal sets, with its controls."""
        wanted = math.ceil(ENOUGH * self.case.forgotten.sum())
        found = [
            (least, one)
            for one in contenders
            if (least := smallest_prefix(self.case, one.order, one.curve, wanted, self.step))
        ]
        if not found:
            return None
        least, one = min(found, key=lambda pair: int(pair[0].sizes[0]))
        chosen = one.order[: least.sizes[0]]
        others = self.random(one.order, least.sizes, spared=len(chosen))
        random = [int(curve.counts[0]) for curve in others]
        return Minimal(one.name, chosen, int(least.counts[0]), tuple(random))

    def random(
        self, order: Int[np.ndarray, " flat"], sizes: Int[np.ndarray, " size"], spared: int = 0
    ) -> list[Curve]:
        """Curves of random neurons matched to a ranking's; the first ones are spared."""
        generator = np.random.default_rng(self.settings.seed)
        strata = by_layer_and_size(self.norms, self.settings.bins)
        draws = [alike(order, strata, generator, spared) for _ in range(self.settings.draws)]
        return [restore(self.case, draw, sizes, self.step) for draw in draws]
