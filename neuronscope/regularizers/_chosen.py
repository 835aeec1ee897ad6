"""Which neurons count: those that a diagnosis called spurious, or random ones like them."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from neuronscope.models.hooked_model import HookedModel

CHOSEN = "chosen/"
"""Begins the name under which the neurons that count are remembered, by site."""

Chosen = dict[str, Bool[Tensor, "layer neuron"]]
"""By site, on the CPU."""

_COLUMNS = ("site", "layer", "neuron", "spurious")


def spurious_neurons(scores: Path, model: HookedModel, sites: Sequence[str]) -> Chosen:
    """The spurious neurons of a diagnosis.

    Args:
        scores: Its folder, or the `neurons.parquet` in it.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If a column or a site is missing, a neuron does not exist in the model, or none
            is spurious.
    """
    path = scores / "neurons.parquet" if scores.is_dir() else scores
    if not path.is_file():
        raise FileNotFoundError(f"There is no table of neurons {path}: expected a diagnosis.")
    table = pd.read_parquet(path)
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}: expected the neurons of a diagnosis, with "
            f"{', '.join(_COLUMNS)}."
        )
    chosen = {}
    for site in sites:
        here = table.loc[table["site"] == site]
        if here.empty:
            raise ValueError(
                f"{path} has no neurons at {site}: it has {', '.join(table['site'].unique())}; "
                "choose sites among these, or diagnose that site too."
            )
        chosen[site] = _marked(path, model, site, here.loc[here["spurious"]])
    if not any(mask.any() for mask in chosen.values()):
        raise ValueError(
            f"{path} calls no neuron at {', '.join(sites)} spurious: none would count."
        )
    return chosen


def _marked(
    path: Path, model: HookedModel, site: str, rows: pd.DataFrame
) -> Bool[Tensor, "layer neuron"]:
    mask = torch.zeros(_shape(model, site), dtype=torch.bool)
    for layer, neuron in zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True):
        if not (0 <= layer < mask.shape[0] and 0 <= neuron < mask.shape[1]):
            raise ValueError(
                f"{path} names neuron {neuron} of layer {layer} at {site}, and the model has "
                f"{mask.shape[0]} layers of {mask.shape[1]}: it is another model's diagnosis."
            )
        mask[layer, neuron] = True
    return mask


def spread_evenly(count: int, model: HookedModel, sites: Sequence[str]) -> dict[str, list[int]]:
    """How many neurons of each layer, by site, if `count` are spread over all of them.

    Raises:
        ValueError: If there are not so many.
    """
    shapes = {site: _shape(model, site) for site in sites}
    groups = [(site, layer) for site, (layers, _) in shapes.items() for layer in range(layers)]
    share, rest = divmod(count, len(groups))
    counts: dict[str, list[int]] = {site: [] for site in sites}
    for index, (site, _) in enumerate(groups):
        counts[site].append(share + (index < rest))
    for site, (_, width) in shapes.items():
        if max(counts[site]) > width:
            raise ValueError(
                f"{count} neurons are {max(counts[site])} in each layer at {site}, and there are "
                f"{width}: ask for fewer."
            )
    return counts


def drawn(
    counts: dict[str, list[int]],
    model: HookedModel,
    spared: Chosen | None,
    seed: int,
) -> Chosen:
    """So many random neurons of each layer.

    Args:
        counts: By site, one number for each layer.
        spared: Neurons that are drawn only where a layer has no others left.
        seed: The same seed draws the same neurons.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = {}
    for site, wanted in counts.items():
        keys = torch.rand(_shape(model, site), generator=generator)
        if spared is not None:
            keys = keys + spared[site]
        rank = keys.argsort(dim=1).argsort(dim=1)
        chosen[site] = rank < torch.tensor(wanted)[:, None]
    return chosen


def _shape(model: HookedModel, site: str) -> tuple[int, int]:
    hook_points = model.hook_points_at(site)
    return len(hook_points), hook_points[0].width
