"""Pruning: silence the neurons that a diagnosis calls spurious, and look whether answers come back.

A spurious unlearning neuron is one whose negative influence grew (D⁻ of arXiv 2509.22263, Eq. 5).
If these hold the answers down, the answers return without them. The control are random others, as
many of each layer. `budget` is the number of neurons silenced.
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

from neuronscope.attacks._base import Attack, Look, Scene, Trial
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
    """Silence the neurons whose negative influence grew most, or random others."""

    scores: Path = Path("diagnosis")
    """A diagnosis of the attacked checkpoint: its folder, or the neurons.parquet in it."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Where the neurons are."""

    counts: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000)
    """How many are silenced, ascending; no more than there are."""

    among: Literal["spurious", "all"] = "spurious"
    """Only neurons that the diagnosis calls spurious, or all of them; those of largest D⁻ first."""

    draws: int = 5
    """Random choices beside them, with as many neurons of each layer, and others than the chosen
    ones while there are any."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.counts or any(a >= b for a, b in pairwise((0, *self.counts))):
            raise ValueError(f"Expected counts that ascend from 1 or more, got {self.counts}.")
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
    ) -> Iterator[Look]:
        ranking = self._ranking(scene.model)
        yield Look(questions(model))
        sizes = dict.fromkeys(min(count, len(ranking)) for count in self.counts)
        for step, size in enumerate(sizes, 1):
            masks = marked(ranking.head(size), model, self.sites)
            if trial.variant == RANDOM:
                counts = {site: mask.sum(axis=1).tolist() for site, mask in masks.items()}
                spared = {site: torch.from_numpy(mask) for site, mask in masks.items()}
                others = drawn(counts, model, spared, trial.seed)
                masks = {site: mask.numpy() for site, mask in others.items()}
            with scaled(model, masks, 0.0):
                yield Look(questions(model), step=step, budget=float(size))

    def _ranking(self, model: HookedModel) -> pd.DataFrame:
        """The neurons that may be silenced, those of largest D⁻ first.

        Raises:
            FileNotFoundError, ValueError: As `_neurons`, or if they are not the model's.
        """
        path, here = self._neurons()
        _check_fits(path, here, model)
        keys, ascending = ["d_minus", "site", "layer", "neuron"], [False, True, True, True]
        return here.sort_values(keys, ascending=ascending).reset_index(drop=True)

    def _neurons(self) -> tuple[Path, pd.DataFrame]:
        """The table of neurons, and those in it that may be silenced.

        Raises:
            FileNotFoundError: If there is no such table.
            ValueError: If it is no diagnosis's, or names no neuron to silence.
        """
        path = self.scores / "neurons.parquet" if self.scores.is_dir() else self.scores
        if not path.is_file():
            raise FileNotFoundError(
                f"There is no table of neurons {path}: scores takes the folder of a diagnosis."
            )
        table = _read(path)
        missing = [name for name in _COLUMNS if name not in table.columns]
        if missing:
            raise ValueError(
                f"{path} has no column {', '.join(missing)}: expected the neurons of a diagnosis, "
                f"with {', '.join(_COLUMNS)}."
            )
        check_sites(self.sites, tuple(table["site"].unique()), str(path))
        here = table.loc[table["site"].isin(self.sites) & (table["d_minus"] > 0)]
        if self.among == "spurious":
            here = here.loc[here["spurious"]]
        if here.empty:
            raise ValueError(
                f"{path} names no neuron at {', '.join(self.sites)} to silence"
                + (": use among='all'." if self.among == "spurious" else ".")
            )
        return path, here


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ArrowInvalid as error:
        raise ValueError(f"{path} is no table of neurons, or is damaged.") from error


def marked(
    neurons: pd.DataFrame, model: HookedModel, sites: Sequence[str]
) -> dict[str, Bool[np.ndarray, "layer _"]]:
    """Neurons of a table as a mask for each site."""
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
                f"{path} names neuron {here['neuron'].max()} of layer {here['layer'].max()} at "
                f"{site}, and the model has {layers} layers of {width}: it is another model's "
                "diagnosis."
            )
