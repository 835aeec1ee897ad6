"""Pruning: ablate the neurons that a diagnosis calls spurious, and test whether answers recover.

A spurious unlearning neuron is one whose negative influence grew by more than chance explains
(`analysis/spurious.py`); those with the largest growth (D⁻ of arXiv 2509.22263, Eq. 5) are ablated
first. If these neurons suppress the answers, the answers recover without them. The control ablates
the same number of random neurons per layer. `budget` is the number of ablated neurons, whose
activations are set to zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pandas as pd
from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Attack, Measurement, Scene, Trial
from neuronscope.attacks._tally import Questions
from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import scaled
from neuronscope.models.sites import SITES, check_sites
from neuronscope.regularizers import drawn, marked, neurons_of
from neuronscope.results.attack_table import RANDOM

CHOSEN = "chosen"
_COLUMNS = ("site", "layer", "neuron", "d_minus", "spurious")


@dataclass(frozen=True)
class Prune(Attack):
    """Ablate the neurons whose negative influence grew most, or random neurons."""

    scores: Path = Path("diagnosis")
    """A diagnosis of the attacked checkpoint: its folder, or the file neurons.parquet in it."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Sites of the neurons to ablate."""

    counts: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000)
    """Numbers of neurons to ablate, in ascending order; a number above the total means all of
    them."""

    among: Literal["spurious", "all"] = "spurious"
    """Ablate only neurons that the diagnosis calls spurious, or all with D⁻ above 0; those with the
    largest D⁻ first."""

    draws: int = 5
    """Number of random controls. Each ablates the same number of neurons per layer, and avoids the
    chosen neurons as long as the layer has others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.counts or any(a >= b for a, b in pairwise((0, *self.counts))):
            raise ValueError(f"Expected ascending `counts` of 1 or more, got {self.counts}.")
        if self.draws < 0:
            raise ValueError(f"Expected draws of 0 or more, got {self.draws}.")
        check_sites(self.sites, SITES, "neuronscope")

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        del facts, tokenizers, form
        self._ranking()

    def trials(self, scene: Scene) -> list[Trial]:
        path, ranking = self._ranking()
        marked(path, ranking, scene.model, self.sites)
        random = [Trial(scene.pool, variant=RANDOM, seed=seed) for seed in range(self.draws)]
        return [Trial(scene.pool, variant=CHOSEN), *random]

    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Measurement]:
        del scene
        path, ranking = self._ranking()
        yield Measurement(questions(model))
        sizes = dict.fromkeys(min(count, len(ranking)) for count in self.counts)
        for step, size in enumerate(sizes, 1):
            masks = marked(path, ranking.head(size), model, self.sites)
            if trial.variant == RANDOM:
                counts = {site: mask.sum(dim=1).tolist() for site, mask in masks.items()}
                masks = drawn(counts, model, masks, trial.seed)
            with scaled(model, {site: mask.numpy() for site, mask in masks.items()}, 0.0):
                yield Measurement(questions(model), step=step, budget=float(size))

    def _ranking(self) -> tuple[Path, pd.DataFrame]:
        """The path of the diagnosis, and the neurons to ablate, those with the largest D⁻ first.

        Raises:
            FileNotFoundError: If there is no table of neurons.
            ValueError: If it is not that of a diagnosis, or has no neuron to ablate.
        """
        path, table = neurons_of(self.scores, self.sites, _COLUMNS)
        neurons = table.loc[table["d_minus"] > 0]
        if self.among == "spurious":
            neurons = neurons.loc[neurons["spurious"]]
        if neurons.empty:
            raise ValueError(
                f"{path} has no neuron to ablate at {', '.join(self.sites)}"
                + ("; use among='all'." if self.among == "spurious" else ".")
            )
        keys, ascending = ["d_minus", "site", "layer", "neuron"], [False, True, True, True]
        return path, neurons.sort_values(keys, ascending=ascending).reset_index(drop=True)
