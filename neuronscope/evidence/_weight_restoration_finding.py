"""What a weight restoration says."""

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
"""Share of the neurons that is too small to hold many different answers, rounded up to a neuron;
reasoned: what is known is spread over more of a model than what silences it need be."""

MEANING = f"share of the neurons at {SITE} whose own weights bring half of the answers back"

NO_INTERVAL = (math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Contender:
    """A ranking of the neurons, and how well it does."""

    name: str
    order: Int[np.ndarray, " flat"]
    """Neurons in the flat table, first to be restored first."""

    curve: Curve
    """Its last size is all neurons."""

    controls: Sequence[Curve]
    """Random neurons matched to it, by draw."""

    score: CausalScore

    @property
    def apart(self) -> tuple[int, int]:
        """Sizes at which its interval and those of all draws do not touch, of how many compared."""
        random = pd.concat([control.rows(self.name) for control in self.controls])
        highest = random.groupby("size", as_index=False)["high"].max()
        both = self.curve.rows(self.name).iloc[:-1].merge(highest, on="size")
        return int((both["low"] > both["high_y"]).sum()), len(both)


@dataclass(frozen=True, eq=False)
class Minimal:
    """The smallest set found that brings half of the answers back."""

    ranking: str
    chosen: Int[np.ndarray, " chosen"]
    """Its neurons in the flat table."""

    answered: int
    random: tuple[int, ...]
    """Answers that came back with random other neurons matched to it, by draw."""


def finding(
    case: Case,
    neurons: int,
    contenders: Sequence[Contender],
    minimal: Minimal | None,
    undecided: tuple[Word, str] | None,
) -> Finding:
    """The word, its reason, and the tables.

    Args:
        neurons: How many there are.
        contenders: Best first.
        undecided: The word and its reason if the facts alone decide it.
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
        ci95=NO_INTERVAL,
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


def nothing_forgotten(neurons: int, word: Word, reason: str) -> Finding:
    """What is said where no answer can come back."""
    return Finding(
        view="weight_restoration",
        word=word,
        value=math.nan,
        ci95=NO_INTERVAL,
        meaning=MEANING,
        why=reason,
        figures={"neurons": neurons, "forgotten": 0},
    )


def _read(case: Case, neurons: int, best: Contender, minimal: Minimal | None) -> tuple[Word, str]:
    forgotten = int(case.forgotten.sum())
    if minimal is None:
        most = int(best.curve.counts[-1])
        return "cannot tell", (
            f"The own weights of all {neurons:,} neurons at {SITE} bring only {most} of "
            f"{forgotten} answers back: too few to look for a smallest set."
        )
    count, random = len(minimal.chosen), max(minimal.random)
    said = (
        f"The own weights of {count:,} of {neurons:,} neurons ({count / neurons:.2%}, ranked by "
        f"{minimal.ranking.replace('_', ' ')}) bring {minimal.answered} of {forgotten} answers "
        f"back, those of as many matched random neurons at most {random}"
    )
    if count > math.ceil(SMALL * neurons):
        return "cannot tell", f"{said}; that many could also hold what they bring back."
    if random > ALMOST_NONE * forgotten:
        return "cannot tell", f"{said}: it does not take those neurons."
    if different_answers(case) < FEWEST:
        return "cannot tell", f"{said}; but they have fewer than {FEWEST} different answers."
    return "hidden", f"{said}: too few to hold so many different answers."


def _curves(contenders: Sequence[Contender]) -> pd.DataFrame:
    """One row per ranking, best first, draw (-1: the ranking itself) and size."""
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
    """The neurons of the minimal set, first to be restored first."""
    chosen = np.array([], dtype=int) if minimal is None else minimal.chosen
    layer, neuron = np.divmod(chosen, case.after.hook_points_at(SITE)[0].width)
    return pd.DataFrame({"site": SITE, "layer": layer, "neuron": neuron})


def _warnings(best: Contender, minimal: Minimal | None) -> tuple[str, ...]:
    found = []
    if math.isnan(best.score.value):
        found.append(
            f"All neurons at {SITE} bring back no more than random ones do: rankings have no score."
        )
    elif not best.score.beats_random:
        found.append(
            f"No ranking was told from random neurons; {best.name.replace('_', ' ')} comes closest."
        )
    if minimal is not None:
        found.append(
            "The minimal set is the smallest prefix that bisection found: answers need not come "
            "back one after the other, and a smaller set may exist."
        )
    return tuple(found)
