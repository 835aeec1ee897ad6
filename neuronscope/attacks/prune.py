"""Pruning: ablate the neurons that a diagnosis calls spurious, and test whether answers recover.

A spurious unlearning neuron is one whose negative influence grew (D⁻ of arXiv 2509.22263, Eq. 5).
If these neurons suppress the answers, the answers recover without them. The control ablates the
same number of random neurons per layer. `budget` is the number of ablated neurons, whose
activations are set to zero.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool
from pyarrow import ArrowInvalid
from transformers import PreTrainedTokenizerBase

from neuronscope.attacks._base import Attack, Measurement, Scene, Trial
from neuronscope.attacks._tally import Questions
from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import scaled
from neuronscope.models.sites import SITES, check_sites
from neuronscope.regularizers import drawn
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
    """Numbers of neurons to ablate, in ascending order; larger numbers than there are neurons mean
    all of them."""

    among: Literal["spurious", "all"] = "spurious"
    """Ablate only neurons that the diagnosis calls spurious, or all with D⁻ above 0; those with the
    largest D⁻ first."""

    draws: int = 5
    """Number of random controls. Each ablates as many neurons per layer, and avoids the chosen
    neurons as long as the layer has others."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.counts or any(a >= b for a, b in pairwise((0, *self.counts))):
            raise ValueError(f"Expected ascending counts of 1 or more, got {self.counts}.")
        if self.draws < 0:
            raise ValueError(f"Expected draws of 0 or more, got {self.draws}.")
        check_sites(self.sites, SITES, "neuronscope")

    def check_own(
        self, facts: FactSet, tokenizers: Sequence[PreTrainedTokenizerBase], form: str
    ) -> None:
        del facts, tokenizers, form
        self._neurons()

    def trials(self, scene: Scene) -> list[Trial]:
        self._ranking(scene.model)
        random = [Trial(scene.pool, variant=RANDOM, seed=seed) for seed in range(self.draws)]
        return [Trial(scene.pool, variant=CHOSEN), *random]

    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Measurement]:
        ranking = self._ranking(scene.model)
        yield Measurement(questions(model))
        sizes = dict.fromkeys(min(count, len(ranking)) for count in self.counts)
        for step, size in enumerate(sizes, 1):
            masks = marked(ranking.head(size), model, self.sites)
            if trial.variant == RANDOM:
                counts = {site: mask.sum(axis=1).tolist() for site, mask in masks.items()}
                spared = {site: torch.from_numpy(mask) for site, mask in masks.items()}
                others = drawn(counts, model, spared, trial.seed)
                masks = {site: mask.numpy() for site, mask in others.items()}
            with scaled(model, masks, 0.0):
                yield Measurement(questions(model), step=step, budget=float(size))

    def _ranking(self, model: HookedModel) -> pd.DataFrame:
        """The neurons that may be ablated, those with the largest D⁻ first.

        Raises:
            FileNotFoundError, ValueError: As `_neurons`, or if the model lacks these neurons.
        """
        path, neurons = self._neurons()
        _check_fits(path, neurons, model)
        keys, ascending = ["d_minus", "site", "layer", "neuron"], [False, True, True, True]
        return neurons.sort_values(keys, ascending=ascending).reset_index(drop=True)

    def _neurons(self) -> tuple[Path, pd.DataFrame]:
        """The path of the table of neurons, and the neurons in it that may be ablated.

        Raises:
            FileNotFoundError: If there is no such table.
            ValueError: If it is not that of a diagnosis, or has no neuron to ablate.
        """
        path = self.scores / "neurons.parquet" if self.scores.is_dir() else self.scores
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no table of neurons at {path}; set scores to the folder of a diagnosis."
            )
        table = _read(path)
        missing = [name for name in _COLUMNS if name not in table.columns]
        if missing:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}; expected the table of neurons of a "
                f"diagnosis, with {', '.join(_COLUMNS)}."
            )
        check_sites(self.sites, tuple(table["site"].unique()), str(path))
        neurons = table.loc[table["site"].isin(self.sites) & (table["d_minus"] > 0)]
        if self.among == "spurious":
            neurons = neurons.loc[neurons["spurious"]]
        if neurons.empty:
            raise ValueError(
                f"{path} has no neuron to ablate at {', '.join(self.sites)}"
                + ("; use among='all'." if self.among == "spurious" else ".")
            )
        return path, neurons


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ArrowInvalid as error:
        raise ValueError(
            f"{path} is no table of neurons, or is damaged; set scores to the folder of a "
            "diagnosis."
        ) from error


def marked(
    neurons: pd.DataFrame, model: HookedModel, sites: Sequence[str]
) -> dict[str, Bool[np.ndarray, "layer _"]]:
    """The neurons of a table as one mask per site."""
    masks = {}
    for site in sites:
        hook_points = model.hook_points_at(site)
        mask = np.zeros((len(hook_points), hook_points[0].width), dtype=bool)
        here = neurons.loc[neurons["site"] == site]
        mask[here["layer"].to_numpy(), here["neuron"].to_numpy()] = True
        masks[site] = mask
    return masks


def _check_fits(path: Path, neurons: pd.DataFrame, model: HookedModel) -> None:
    for site, here in neurons.groupby("site"):
        hook_points = model.hook_points_at(str(site))
        layers, width = len(hook_points), hook_points[0].width
        if here["layer"].max() >= layers or here["neuron"].max() >= width:
            raise ValueError(
                f"{path} has neuron {here['neuron'].max()} and layer {here['layer'].max()} at "
                f"{site}, but the model has {layers} layers of {width} neurons; set scores to a "
                "diagnosis of the attacked checkpoint."
            )
