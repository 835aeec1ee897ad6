"""The finding of weight restoration: its verdict, sentences and tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int

from neuronscope.evidence._base import Case
from neuronscope.evidence._causal_score import CausalScore
from neuronscope.evidence._controls import SITE
from neuronscope.evidence._curves import Curve
from neuronscope.evidence._forgotten import ALMOST_NONE, FEWEST, different_answers
from neuronscope.results.findings import ITSELF, Finding, Word

SMALL = 0.01
"""Share of the neurons, rounded up to a neuron, that is too small to store many different answers;
chosen because suppressing knowledge takes fewer neurons than storing it."""

MEANING = (
    f"smallest share of the neurons at {SITE} whose original weights recover half of the forgotten "
    "answers"
)


@dataclass(frozen=True, eq=False)
class Contender:
    """A ranking of the neurons, with its recovery curve and causal score."""

    name: str
    order: Int[np.ndarray, " flat"]
    """Flat indices of the neurons, in the order of restoration."""

    curve: Curve
    """Its recovery curve, whose last size is all neurons."""

    controls: Sequence[Curve]
    """The curves of random neurons matched to it, by draw."""

    score: CausalScore

    @property
    def apart(self) -> tuple[int, int]:
        """The number of sizes at which the ranking is above all draws, and the number compared.

        It is above if its interval lies above the intervals of all random draws.
        """
        random = pd.concat([control.rows(self.name) for control in self.controls])
        highest = random.groupby("size", as_index=False)["high"].max()
        both = self.curve.rows(self.name).iloc[:-1].merge(highest, on="size")
        return int((both["low"] > both["high_y"]).sum()), len(both)


@dataclass(frozen=True, eq=False)
class Minimal:
    """The smallest set found that recovers half of the answers."""

    ranking: str
    chosen: Int[np.ndarray, " chosen"]
    """Flat indices of its neurons."""

    answered: int
    random: tuple[int, ...]
    """Number of answers that matched random neurons outside the set recover, by draw."""


def finding(
    case: Case,
    neurons: int,
    contenders: Sequence[Contender],
    minimal: Minimal | None,
    undecided: tuple[Word, str] | None,
) -> Finding:
    """The verdict, its reason, and the tables.

    Args:
        neurons: Number of neurons in the model.
        contenders: The rankings, best first.
        undecided: The verdict and its reason if too few facts were forgotten.
    """
    word, reason = undecided or _read(case, neurons, contenders[0], minimal)
    best = contenders[0]
    figures = {
        "neurons": neurons,
        "forgotten": int(case.forgotten.sum()),
        "all_recovered": float(best.curve.recovered[-1].mean()),
        "all_answered": int(best.curve.counts[-1]),
        "best": best.name,
        "causal_score": None if math.isnan(best.score.value) else best.score.value,
        "beats_random": best.score.beats_random,
        "sizes_apart": best.apart[0],
        "sizes_compared": best.apart[1],
        "minimal_neurons": None if minimal is None else len(minimal.chosen),
        "minimal_ranking": None if minimal is None else minimal.ranking,
        "minimal_answered": None if minimal is None else minimal.answered,
        "minimal_random_most": None if minimal is None else max(minimal.random),
    }
    return Finding(
        view="weight_restoration",
        word=word,
        value=math.nan if minimal is None else len(minimal.chosen) / neurons,
        ci95=(math.nan, math.nan),
        meaning=MEANING,
        why=reason,
        figures=figures,
        tables={
            "curves": _curves(contenders),
            "scores": _scores(contenders),
            "minimal_set": _places(case, minimal),
        },
        warnings=_warnings(best, minimal),
    )


def _read(case: Case, neurons: int, best: Contender, minimal: Minimal | None) -> tuple[Word, str]:
    forgotten = int(case.forgotten.sum())
    if minimal is None:
        most = int(best.curve.counts[-1])
        return "cannot tell", (
            f"Restoring the original weights of all {neurons:,} neurons at {SITE} recovers only "
            f"{most} of {forgotten} forgotten answers, too few to search for a minimal set."
        )
    count, random = len(minimal.chosen), max(minimal.random)
    result = (
        f"Restoring the original weights of {count:,} of {neurons:,} neurons "
        f"({count / neurons:.2%}, ranked by {minimal.ranking.replace('_', ' ')}) recovers "
        f"{minimal.answered} of {forgotten} forgotten answers; the same number of matched random "
        f"neurons recovers at most {random}."
    )
    if count > math.ceil(SMALL * neurons):
        return "cannot tell", f"{result} A set of this size could also store the answers."
    if random > ALMOST_NONE * forgotten:
        return "cannot tell", f"{result} The recovery is therefore not specific to these neurons."
    if different_answers(case) < FEWEST:
        return "cannot tell", (
            f"{result} However, the forgotten facts have fewer than {FEWEST} different answers."
        )
    return "hidden", f"{result} Such a small set could not store so many different answers."


def _curves(contenders: Sequence[Contender]) -> pd.DataFrame:
    """One row per ranking (best first), draw (-1: the ranking itself) and size."""
    return pd.concat(
        [
            curve.rows(one.name, draw)
            for one in contenders
            for draw, curve in enumerate((one.curve, *one.controls), start=ITSELF)
        ],
        ignore_index=True,
    )


def _scores(contenders: Sequence[Contender]) -> pd.DataFrame:
    """One row per ranking, best first."""
    return pd.DataFrame(
        {
            "ranking": [one.name for one in contenders],
            "causal_score": [one.score.value for one in contenders],
            "low": [one.score.low for one in contenders],
            "high": [one.score.high for one in contenders],
            "chance": [one.score.chance for one in contenders],
            "beats_random": [one.score.beats_random for one in contenders],
            "sizes_apart": [one.apart[0] for one in contenders],
            "sizes_compared": [one.apart[1] for one in contenders],
        }
    )


def _places(case: Case, minimal: Minimal | None) -> pd.DataFrame:
    """The neurons of the minimal set, in the order of the ranking."""
    chosen = np.array([], dtype=int) if minimal is None else minimal.chosen
    layer, neuron = np.divmod(chosen, case.after.hook_points_at(SITE)[0].width)
    return pd.DataFrame({"site": SITE, "layer": layer, "neuron": neuron})


def _warnings(best: Contender, minimal: Minimal | None) -> tuple[str, ...]:
    found = []
    if math.isnan(best.score.value):
        found.append(
            f"Restoring all neurons at {SITE} recovers no more than restoring random ones, so "
            "rankings have no causal score."
        )
    elif not best.score.beats_random:
        found.append(
            "No ranking is significantly better than random neurons; "
            f"{best.name.replace('_', ' ')} has the highest causal score."
        )
    if minimal is not None:
        found.append(
            "The minimal set is the smallest one found by bisection; since recovery need not be "
            "monotone in the number of neurons, a smaller set may exist."
        )
    return tuple(found)
