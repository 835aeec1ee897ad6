"""Silencing: which answers return when suspected inhibitors of the unlearned model are ablated.

Silencing a neuron means setting it to zero. No weights of the original model are used, so an answer
that returns was present in the unlearned model. The suspects are the neurons of `mlp.post` with the
most negative influence on the answer in the unlearned model (activation x gradient, the first-order
effect of ablation). They are chosen on one half of the forgotten facts and tested on the other
half, and vice versa, so that no neuron is tested on a fact that selected it. The case's rankings
are tested as well, but do not affect the verdict, because they are based on the same facts and
often on the original model.

Each set is compared with random other neurons, matched in number per layer. The largest share over
all sizes is biased upwards; it is compared with the same maximum for each random draw. The case's
rankings have random draws only at the size that recovers most, and none if they recover nothing.

Unlearning need not have created the inhibitors: some neurons suppress many kinds of answers, and
unlearning may only have lowered the answers' scores so far that this suppression is now enough to
prevent the answers. For comparison, the same neurons are therefore also ablated in the original
model. In either case the answers are present.

If ablating a few neurons recovers nothing, this is no evidence of erasure, because training may
spread its changes over many neurons.
"""

import itertools
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
from neuronscope.evidence._forgotten import (
    ENOUGH,
    FEWEST,
    different_answers,
    undecided,
    without_value,
)
from neuronscope.models.interventions import scaled
from neuronscope.results.findings import ITSELF, Finding, Word

OWN = "negative influence"
"""The name of the view's own ranking."""

MEANING = (
    "largest share of the forgotten answers recovered by ablating a few neurons that were chosen "
    "on other facts"
)

GENERAL = 0.5
"""If ablation increases the target in the original model by at least this share of the increase in
the unlearned model, a warning says that unlearning did not create the inhibitors. The verdict does
not depend on this choice."""

Folds = Sequence[tuple[Int[np.ndarray, " flat"], Bool[np.ndarray, " fact"]]]
"""Orders in which to ablate neurons, each with the facts on which it is tested."""


@dataclass(frozen=True)
class Silencing(Evidence):
    """Answers recovered by ablating suspected inhibitors, compared with random neurons."""

    needs_rankings: ClassVar[bool] = True

    sizes: tuple[int, ...] = (1, 3, 10, 30, 100, 300)
    """Numbers of neurons to ablate, ascending."""

    largest: float = 0.05
    """Maximum share of the neurons to ablate; at least one neuron is ablated."""

    draws: int = 5
    """Number of random controls per ranking."""

    seed: int = 0
    """Seed of the split into halves and of the random controls."""

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in zip(self.sizes, self.sizes[1:], strict=False))
        if not self.sizes or self.sizes[0] < 1 or not ascending:
            raise ValueError(f"Expected ascending sizes of 1 or more, got {self.sizes}.")
        if not 0 < self.largest <= 1 or self.draws < 1:
            raise ValueError(
                "Expected `largest` above 0 and up to 1, and `draws` of 1 or more, got "
                f"{self.largest} and {self.draws}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        hook_points = case.after.hook_points_at(SITE)
        check_rankings(case, len(hook_points), hook_points[0].width)
        no_word = undecided(case)
        if case.forgotten.sum() < 2:
            assert no_word is not None, "one fact is too few"
            return without_value("silencing", MEANING, no_word)
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
    """The passes over the forgotten facts, with their progress."""

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
        """Neurons ordered by their influence on one half of the facts, with the other half."""
        facts = np.random.default_rng(self.settings.seed).permutation(
            np.flatnonzero(self.case.forgotten)
        )
        masks = [np.isin(np.arange(len(self.case.forgotten)), facts[i::2]) for i in (0, 1)]
        return [(self._suspects(masks[i]), masks[1 - i]) for i in (0, 1)]

    def silence(self, folds: Folds, sizes: Int[np.ndarray, " size"], before: bool = False) -> Curve:
        """Evaluate each fold's facts with the first neurons of its order ablated.

        Args:
            before: Evaluate the original instead of the unlearned model.
        """
        model = self.case.before if before else self.case.after
        plain = (self.case.at_first if before else self.case.at_last).score
        recovered = np.full((len(sizes), len(plain)), np.nan)
        answered = np.zeros(recovered.shape, dtype=bool)
        for order, facts in folds:
            for row, size in enumerate(sizes):
                chosen = {SITE: among(order[:size], self.layers, self.width)}
                with scaled(model, chosen, 0.0):
                    now = self.case.measure(model, facts)
                recovered[row, facts] = (now.score - plain)[facts]
                answered[row, facts] = now.answered[facts]
                self.progress(min(next(self.done), self.passes), self.passes)
        forgotten = self.case.forgotten
        return Curve(sizes, recovered[:, forgotten], answered[:, forgotten])

    def random(self, folds: Folds, sizes: Int[np.ndarray, " size"]) -> list[Curve]:
        """Curves of random other neurons, matched in number per layer at every size."""
        generator = np.random.default_rng(self.settings.seed)
        layer = np.arange(self.layers).repeat(self.width)
        most = int(sizes[-1])
        draws = [
            [(alike(order, layer, generator, most), facts) for order, facts in folds]
            for _ in range(self.settings.draws)
        ]
        return [self.silence(draw, sizes) for draw in draws]

    def _suspects(self, facts: Bool[np.ndarray, " fact"]) -> Int[np.ndarray, " flat"]:
        """Neurons ordered by their influence on the facts, most negative first."""
        influence = np.zeros((self.layers, self.width))
        for _, batch in self.case.batches(facts):
            found = GradientXActivation()(self.case.after, batch, (SITE,), self.case.target)
            influence += found[SITE].total.sum(dim=0).double().cpu().numpy()
        return ranked(-influence)


def _finding(
    case: Case,
    tried: Mapping[str, tuple[Curve, list[Curve]]],
    general: float,
    undecided: tuple[Word, str] | None,
) -> Finding:
    """The verdict, its reason, and the table.

    Args:
        tried: Each ranking's curve, and those of its random controls.
        general: Mean increase of the target in the original model.
    """
    own, random = tried[OWN]
    best, total = int(own.counts.argmax()), own.answered.shape[1]
    back, size = int(own.counts[best]), int(own.sizes[best])
    by_chance = max(int(curve.counts.max()) for curve in random)
    given = {name: int(curve.counts.max()) for name, (curve, _) in tried.items() if name != OWN}
    top = max(given, key=lambda name: given[name], default=None)
    most = f"up to {own.sizes.max()}" if not back else str(size)
    result = (
        f"Ablating {most} suspected inhibitors, chosen on other facts, recovers {back} of {total} "
        f"forgotten answers; random neurons recover at most {by_chance} at any size."
    )
    word, reason = undecided or _read(case, back, by_chance, result)
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


def _read(case: Case, back: int, by_chance: int, result: str) -> tuple[Word, str]:
    total = int(case.forgotten.sum())
    if back < ENOUGH * total:
        return "cannot tell", f"{result} Suppression may be spread over many more neurons."
    if wilson_interval(back, total)[0] <= wilson_interval(by_chance, total)[1]:
        return "cannot tell", f"{result} The 95 % intervals of the two overlap."
    if different_answers(case) < FEWEST:
        return "cannot tell", (
            f"{result} However, the forgotten facts have fewer than {FEWEST} different answers."
        )
    return "hidden", f"{result} The answers are present but suppressed."


def _warnings(recovered: float, general: float) -> tuple[str, ...]:
    maximum = (
        "The best result over several numbers of ablated neurons is biased upwards; compare it "
        "with the best result of random neurons over the same numbers."
    )
    if general < GENERAL * recovered:
        return (maximum,)
    return (
        maximum,
        "Unlearning did not create these inhibitors: ablating them also increases the target of "
        f"these answers in the original model (by {general:.2f}, compared with {recovered:.2f} in "
        "the unlearned model).",
    )


def _table(tried: Mapping[str, tuple[Curve, list[Curve]]]) -> pd.DataFrame:
    """One row per ranking, draw (-1: the ranking itself) and size."""
    parts = [
        curve.rows(name, draw).assign(chosen_on="other facts" if name == OWN else "elsewhere")
        for name, (itself, random) in tried.items()
        for draw, curve in enumerate((itself, *random), start=ITSELF)
    ]
    return pd.concat(parts, ignore_index=True)
