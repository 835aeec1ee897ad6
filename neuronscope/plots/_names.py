"""Names of neurons, methods and attacks as they appear in figures."""

import textwrap
from html import escape

import numpy as np
import pandas as pd
from jaxtyping import Int


def as_text(name: str) -> str:
    """A name with the characters escaped that plotly would interpret as markup."""
    return escape(name, quote=False)


def wrapped(name: str, width: int = 20) -> str:
    """A long name broken into several lines, without markup."""
    return "<br>".join(map(as_text, textwrap.wrap(name, width)))


def neuron_names(neurons: pd.DataFrame, chosen: Int[np.ndarray, " chosen"]) -> list[str]:
    """Site, layer and neuron of the rows at positions `chosen`, and their expert if there is one.

    Args:
        neurons: The whole table with `site`, `layer`, `neuron` and, for mixtures of experts,
            `expert`.
        chosen: Row positions in the table.
    """
    rows = neurons.iloc[chosen]
    names = [
        f"{site}, layer {layer}, neuron {neuron}"
        for site, layer, neuron in zip(rows["site"], rows["layer"], rows["neuron"], strict=True)
    ]
    if "expert" not in neurons.columns:
        return names
    experts, indices = (places[chosen].tolist() for places in expert_places(neurons))
    return [
        f"{name} (expert {expert}, index {index})" if expert >= 0 else name
        for name, expert, index in zip(names, experts, indices, strict=True)
    ]


def expert_places(
    neurons: pd.DataFrame,
) -> tuple[Int[np.ndarray, " row"], Int[np.ndarray, " row"]]:
    """Each neuron's expert (-1: none) and its index within that expert, counted from 0.

    Args:
        neurons: The whole table, including the first neuron of every expert.
    """
    expert = neurons["expert"].fillna(-1).astype(int)
    groups = neurons["neuron"].groupby([neurons["site"], neurons["layer"], expert])
    index = neurons["neuron"] - groups.transform("min")
    return expert.to_numpy(), index.to_numpy().astype(int)
