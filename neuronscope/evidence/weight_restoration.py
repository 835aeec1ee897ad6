"""Weight restoration: which answers return when the original weights of neurons are restored.

The original weights of the top-m neurons of a ranking of `mlp.post` are restored in the unlearned
model. Controls restore random neurons, matched in number per layer and per quantile bin of ‖Δθ‖. A
ranking's *causal score* is the position of its curve between random (0) and all neurons (1). The
*minimal set* is the smallest prefix of a ranking that recovers half of the forgotten answers.

Restoring enough neurons usually recovers the answers, so the curve alone is no evidence of hiding.
The evidence is that many different answers return together when a set too small to store them is
restored, while random neurons recover none. The converse does not hold: training may spread its
changes over many neurons.

The cost is one pass over the forgotten facts for each set of neurons. With 6 rankings, 6 sizes and
5 draws there are 37 passes for the rankings, 60 for the controls of the two best, 60 for those of
the other four at every second size, and about 20 for the minimal set.
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
from neuronscope.evidence._forgotten import ENOUGH, undecided, without_value
from neuronscope.evidence._restoring import Step, restore, smallest_prefix
from neuronscope.evidence._weight_restoration_finding import (
    MEANING,
    Contender,
    Minimal,
    finding,
)
from neuronscope.results.findings import Finding

FINALISTS = 2
"""Number of rankings, best causal score first, that are searched for a minimal set."""

BISECTION = 7
"""Estimated number of passes of a bisection to within 5 %; used to report progress."""


@dataclass(frozen=True)
class WeightRestoration(Evidence):
    """Answers recovered by the original weights of the top-m neurons, compared with random ones."""

    needs_rankings: ClassVar[bool] = True

    smallest: float = 0.001
    """Share of the neurons in the smallest set."""

    largest: float = 0.25
    """Share of the neurons in the largest set, apart from the set of all neurons."""

    steps: int = 6
    """Number of sets from the smallest to the largest, evenly spaced on a log scale."""

    draws: int = 5
    """Number of random controls per ranking."""

    thorough: int = 2
    """Number of rankings, best curves first, whose controls are measured at every size."""

    bins: int = 10
    """Quantile bins of the weight change per layer, within which controls are matched."""

    seed: int = 0
    """Seed of the random controls."""

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
            assert undecided_word is not None, "no fact was forgotten"
            figures = {"neurons": norms.size, "forgotten": 0}
            return without_value("weight_restoration", MEANING, undecided_word, figures)
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
        """The approximate number of passes; that of bisections is not known in advance."""
        thorough = min(self.thorough, rankings)
        controls = thorough * sizes + (rankings - thorough) * math.ceil(sizes / 2)
        searches = min(FINALISTS, rankings) * BISECTION + self.draws
        return 1 + rankings * sizes + self.draws * controls + searches


@dataclass(frozen=True, eq=False)
class _Trial:
    """The passes over the forgotten facts."""

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
        # With all neurons restored, all rankings agree.
        end = restore(self.case, everyone, np.array([everyone.size]), self.step)
        curves = {
            name: restore(self.case, order, sizes, self.step).to(end)
            for name, order in orders.items()
        }
        by_curve = sorted(curves, key=lambda name: curves[name].recovered.mean(), reverse=True)
        found = []
        for place, name in enumerate(by_curve):
            # Every second size, counted from the largest, which has the largest effect.
            measured = sizes if place < self.settings.thorough else sizes[::-2][::-1]
            controls = [curve.to(end) for curve in self.random(orders[name], measured)]
            score = causal_score(curves[name], controls)
            found.append(Contender(name, orders[name], curves[name], controls, score))
        return sorted(found, key=lambda one: one.score.merit, reverse=True)

    def minimal(self, contenders: list[Contender]) -> Minimal | None:
        """The smallest of the contenders' minimal sets, with its controls."""
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
        """Curves of random neurons matched to a ranking; `spared` as in `alike`."""
        generator = np.random.default_rng(self.settings.seed)
        strata = by_layer_and_size(self.norms, self.settings.bins)
        draws = [alike(order, strata, generator, spared) for _ in range(self.settings.draws)]
        return [restore(self.case, draw, sizes, self.step) for draw in draws]
