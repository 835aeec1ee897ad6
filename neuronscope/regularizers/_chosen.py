"""Choices of neurons: those that a diagnosis calls spurious, or random neurons per layer."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Bool
from pyarrow import ArrowInvalid
from torch import Tensor

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.sites import check_sites

CHOSEN = "chosen/"
"""Prefix of the names of the chosen neurons in the memory, by site."""

Chosen = dict[str, Bool[Tensor, "layer neuron"]]
"""Masks of neurons by site, on the CPU."""

COLUMNS = ("site", "layer", "neuron", "spurious")


def spurious_neurons(scores: Path, model: HookedModel, sites: Sequence[str]) -> Chosen:
    """The spurious neurons of a diagnosis.

    Args:
        scores: The folder of the diagnosis, or the `neurons.parquet` in it.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If a column or a site is missing, a neuron does not exist in the model, or none
            is spurious.
    """
    path, table = neurons_of(scores, sites, COLUMNS)
    spurious = table.loc[table["spurious"]]
    if spurious.empty:
        raise ValueError(
            f"{path} calls no neuron at {', '.join(sites)} spurious; set `scores` to a different "
            "diagnosis, or choose different `sites`."
        )
    return marked(path, spurious, model, sites)


def neurons_of(
    scores: Path, sites: Sequence[str], columns: Sequence[str]
) -> tuple[Path, pd.DataFrame]:
    """The path of a diagnosis's table of neurons, and its rows at the given sites.

    Args:
        scores: The folder of the diagnosis, or the `neurons.parquet` in it.
        columns: Columns that the table must have.

    Raises:
        FileNotFoundError: If there is no such table.
        ValueError: If it is not a table of neurons, or a column or a site is missing.
    """
    path = scores / "neurons.parquet" if scores.is_dir() else scores
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no table of neurons at {path}; set `scores` to the folder of a diagnosis."
        )
    try:
        table = pd.read_parquet(path)
    except ArrowInvalid as error:
        raise ValueError(
            f"{path} is damaged or not a table of neurons; set `scores` to the folder of a "
            "diagnosis."
        ) from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(missing)}; expected the table of neurons of a "
            f"diagnosis, with {', '.join(columns)}."
        )
    check_sites(sites, tuple(table["site"].unique()), str(path))
    return path, table.loc[table["site"].isin(sites)]


def marked(path: Path, neurons: pd.DataFrame, model: HookedModel, sites: Sequence[str]) -> Chosen:
    """The neurons of a table as one mask per site.

    Args:
        path: Where the table comes from.

    Raises:
        ValueError: If a neuron does not exist in the model.
    """
    chosen = {}
    for site in sites:
        rows = neurons.loc[neurons["site"] == site]
        mask = torch.zeros(_shape(model, site), dtype=torch.bool)
        for layer, neuron in zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True):
            if not (0 <= layer < mask.shape[0] and 0 <= neuron < mask.shape[1]):
                raise ValueError(
                    f"{path} has neuron {neuron} of layer {layer} at {site}, but the model has "
                    f"{mask.shape[0]} layers of {mask.shape[1]} neurons; set `scores` to a "
                    "diagnosis of this model."
                )
            mask[layer, neuron] = True
        chosen[site] = mask
    return chosen


def spread_evenly(count: int, model: HookedModel, sites: Sequence[str]) -> dict[str, list[int]]:
    """Number of neurons per layer, by site, if `count` are distributed evenly over all layers.

    Raises:
        ValueError: If the layers have too few neurons.
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
                f"count={count} means {max(counts[site])} neurons in a layer at {site}, which has "
                f"{width}; decrease `count`."
            )
    return counts


def drawn(
    counts: dict[str, list[int]],
    model: HookedModel,
    avoided: Chosen | None,
    seed: int,
) -> Chosen:
    """Draw this many random neurons per layer.

    Args:
        counts: By site, one number for each layer.
        avoided: Neurons that are drawn only if a layer has no others left.
        seed: The same seed draws the same neurons.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = {}
    for site, wanted in counts.items():
        keys = torch.rand(_shape(model, site), generator=generator)
        if avoided is not None:
            keys = keys + avoided[site]
        rank = keys.argsort(dim=1).argsort(dim=1)
        chosen[site] = rank < torch.tensor(wanted)[:, None]
    return chosen


def _shape(model: HookedModel, site: str) -> tuple[int, int]:
    hook_points = model.hook_points_at(site)
    return len(hook_points), hook_points[0].width
