"""Silencing: what comes back when suspected inhibitors of the model after say nothing.

Nothing of the model before is put in, so an answer that comes back was there all the time. The
suspects are the neurons of `mlp.post` whose influence on the answer (activation x gradient, the
first order of what silencing does) is most negative, in the model after alone. They are chosen on
one half of the forgotten facts and tested on the other, both ways, so that no neuron is tested on a
fact that chose it. Rankings that the case carries are tried as they are: they come from these very
facts, and often from the model before as well, and decide no word.

Beside each set, random others, as many in each layer. The largest share over all sizes is biased
upwards; it is held against the same maximum over the sizes of each random draw. Each ranking of the
case has its draws at the size where it brought most back, and none where it brought nothing.

A neuron that holds answers down need not be one that unlearning made: some hold down answers of all
kinds, and unlearning only had to let the answers sink beneath them. So the same neurons are also
silenced in the model before, for comparison. Either way the answers are still there.

That few silenced neurons bring nothing back proves nothing: training spreads its changes thin.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.evidence._controls import SITE, alike
from neuronscope.evidence._curves import Curve, among, check_rankings, ranked
from neuronscope.evidence._forgotten import ENOUGH, FEWEST, different_answers, undecided
from neuronscope.models.interventions import scaled
from neuronscope.results.findings import ITSELF, Finding, Word

OWN = "negative influence"
"""The ranking that is made here."""

MEANING = (
    "largest share of the forgotten answers that come back when few neurons, chosen on other "
    "facts, are silenced"
)

GENERAL = 0.5
"""Share of what silencing recovers from which, recovered in the model before, it is said to be
general; reasoned: the larger part. It decides no word."""

Folds = Sequence[tuple[Int[np.ndarray, " flat"], Bool[np.ndarray, " fact"]]]
"""Orders of the neurons, first to be silenced first, each with the facts it is tried on."""


@dataclass(frozen=True)
class Silencing(Evidence):
    """The answers that come back when suspected inhibitors are silenced, beside random neurons."""

    needs_rankings: ClassVar[bool] = True

    sizes: tuple[int, ...] = (1, 3, 10, 30, 100, 300)
    """How many neurons to silence, ascending."""

    largest: float = 0.05
    """Share of the neurons that is silenced at most, if it is one neuron or more."""

    draws: int = 5
    """Random draws beside a ranking."""

    seed: int = 0
    """Seed of the halves and the draws."""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        if not self.sizes or self.sizes[0] < 1 or not ascending:
            raise ValueError(f"Expected ascending sizes of 1 or more, got {self.sizes}.")
        if not 0 < self.largest <= 1 or self.draws < 1:
            raise ValueError(
                "Expected a largest share above 0 and up to 1 and at least one draw, got "
                f"{self.largest} and {self.draws}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        hook_points = case.after.hook_points_at(SITE)
        check_rankings(case, len(hook_points), hook_points[0].width)
        no_word = undecided(case)
        if case.forgotten.sum() < 2:
            assert no_word is not None, "one fact is too few"
            return _untried(*no_word)
        trial = _Trial(self, case, progress)
        own = trial.silence(halves := trial.halves(), trial.sizes)
        tried = {OWN: (own, trial.random(halves, trial.sizes))}
        for name, scores in (case.rankings or {}).items():
            folds = [(ranked(scores), case.forgotten)]
            curve = trial.silence(folds, trial.sizes)
            best = curve.sizes[curve.counts.argmax()][None]
            tried[name] = curve, trial.random(folds, best) if curve.counts.any() else []
        general = trial.silence(halves, own.sizes[own.counts.argmax()][None], before=True)
        progress(trial.passes, trial.passes)
        return _finding(case, tried, float(general.recovered.mean()), no_word)


class _Trial:
    """Passes over the forgotten facts."""

    def __init__(self, settings: Silencing, case: Case, progress: Progress):
        self.settings, self.case, self.progress = settings, case, progress
        hook_points = case.after.hook_points_at(SITE)
        self.layers, self.width = len(hook_points), hook_points[0].width
        most = max(1, int(settings.largest * self.layers * self.width))
        self.sizes = np.array([size for size in settings.sizes if size <= most] or [most])
        sizes, draws, rankings = len(self.sizes), settings.draws, len(case.rankings or {})
        self.passes = 2 * sizes * (1 + draws) + rankings * (sizes + draws) + 2
        self.done = itertools.count(1)

    def halves(self) -> Folds:
        """Neurons by their influence on either half of the facts, to be tried on the other."""
        facts = np.random.default_rng(self.settings.seed).permutation(
            np.flatnonzero(self.case.forgotten)
        )
        masks = [np.isin(np.arange(len(self.case.forgotten)), facts[i::2]) for i in (0, 1)]
        return [(self._suspects(masks[i]), masks[1 - i]) for i in (0, 1)]

    def silence(self, folds: Folds, sizes: Int[np.ndarray, " size"], before: bool = False) -> Curve:
        """The forgotten facts, each asked with the neurons silenced that it is to be tried on.

        Args:
            before: Ask the model before instead of the model after.
        """
        model = self.case.before if before else self.case.after
        plain = (self.case.at_first if before else self.case.at_last).score
        recovered = np.full((len(sizes), len(plain)), np.nan)
        answered = np.zeros(recovered.shape, dtype=bool)
        for order, asked in folds:
            for row, size in enumerate(sizes):
                chosen = {SITE: among(order[:size], self.layers, self.width)}
                with scaled(model, chosen, 0.0):
                    now = self.case.measure(model, asked)
                recovered[row, asked] = (now.score - plain)[asked]
                answered[row, asked] = now.answered[asked]
                self.progress(min(next(self.done), self.passes), self.passes)
        forgotten = self.case.forgotten
        return Curve(sizes, recovered[:, forgotten], answered[:, forgotten])

    def random(self, folds: Folds, sizes: Int[np.ndarray, " size"]) -> list[Curve]:
        """Curves of random others, at every size as many of each layer."""
        generator = np.random.default_rng(self.settings.seed)
        layer = np.arange(self.layers).repeat(self.width)
        most = int(sizes[-1])
        draws = [
            [(alike(order, layer, generator, most), asked) for order, asked in folds]
            for _ in range(self.settings.draws)
        ]
        return [self.silence(draw, sizes) for draw in draws]

    def _suspects(self, asked: Bool[np.ndarray, " fact"]) -> Int[np.ndarray, " flat"]:
        """Most negative mean influence on the facts first."""
        influence = np.zeros((self.layers, self.width))
        for _, batch in self.case.batches(asked):
            found = GradientXActivation()(self.case.after, batch, (SITE,), self.case.target)
            influence += found[SITE].total.sum(dim=0).double().cpu().numpy()
        return ranked(-influence)


def _untried(word: Word, reason: str) -> Finding:
    nothing = (math.nan, math.nan)
    return Finding("silencing", word, math.nan, nothing, MEANING, reason)


def _finding(
    case: Case,
    tried: Mapping[str, tuple[Curve, list[Curve]]],
    general: float,
    undecided: tuple[Word, str] | None,
) -> Finding:
    """What came back.

    Args:
        tried: Each ranking's curve, and those of its random draws.
        general: The target recovered in the model before.
    """
    own, random = tried[OWN]
    best, total = int(own.counts.argmax()), own.answered.shape[1]
    back, size = int(own.counts[best]), int(own.sizes[best])
    by_chance = max(int(curve.counts.max()) for curve in random)
    given = {name: int(curve.counts.max()) for name, (curve, _) in tried.items() if name != OWN}
    top = max(given, key=lambda name: given[name], default=None)
    said = (
        f"Silencing {size} suspected inhibitors, chosen on other facts, brings {back} of {total} "
        f"answers back; random others, at any size, bring at most {by_chance}"
    )
    word, reason = undecided or _read(case, back, by_chance, said)
    recovered = float(own.recovered[best].mean())
    return Finding(
        view="silencing",
        word=word,
        value=back / total,
        ci95=wilson_interval(back, total),
        meaning=MEANING,
        why=reason,
        figures={
            "forgotten": total,
            "answered": back,
            "silenced": size,
            "random_most": by_chance,
            "recovered": recovered,
            "recovered_before": general,
            "given_best": top,
            "given_answered": None if top is None else given[top],
        },
        tables={"curves": _table(tried)},
        warnings=_warnings(recovered, general) if back else (),
    )


def _read(case: Case, back: int, by_chance: int, said: str) -> tuple[Word, str]:
    total = int(case.forgotten.sum())
    if back < ENOUGH * total:
        return "cannot tell", f"{said}: training may have spread the hiding over many more."
    if wilson_interval(back, total)[0] <= wilson_interval(by_chance, total)[1]:
        return "cannot tell", f"{said}: their 95 % intervals touch."
    if different_answers(case) < FEWEST:
        return "cannot tell", f"{said}; but they have fewer than {FEWEST} different answers."
    return "hidden", f"{said}: the answers were there, and held down."


def _warnings(recovered: float, general: float) -> tuple[str, ...]:
    maximum = (
        "The largest share over several sizes is biased upwards: compare it with random_most, the "
        "largest of any random draw over the same sizes."
    )
    if general < GENERAL * recovered:
        return (maximum,)
    return (
        maximum,
        f"The silenced neurons hold these answers down in the model before as well (there by "
        f"{general:.2f}, here by {recovered:.2f}): unlearning did not make them.",
    )


def _table(tried: Mapping[str, tuple[Curve, list[Curve]]]) -> pd.DataFrame:
    """One row per ranking, draw (-1: the ranking itself) and size."""
    parts = [
        curve.rows(name, draw).assign(chosen_on="other facts" if name == OWN else "elsewhere")
        for name, (itself, random) in tried.items()
        for draw, curve in enumerate((itself, *random), start=ITSELF)
    ]
    return pd.concat(parts, ignore_index=True)
