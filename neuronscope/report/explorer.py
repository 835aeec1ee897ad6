"""The page's explorer of single neurons: their influence on each fact, as compact JSON."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from markupsafe import Markup

from neuronscope.plots import expert_places
from neuronscope.report.figures import in_script
from neuronscope.results.recording import Recording, SiteRecording

CHANGED = 400
"""Number of neurons shown because they changed most, whether spurious or not."""

MOST, LEAST = 2000, 100
"""Maximum number of neurons shown, and the minimum, whatever the number of facts."""

BYTES = 600_000
"""Bytes of the page for all neurons."""

WRITERS = 500
"""Number of neurons with tokens; computing them takes seconds even with a large vocabulary."""

CELL, ROW = 6, 150
"""Bytes that a neuron takes in the page: per fact (influence before and after together), and in
addition to the facts."""

STEPS = 32767
"""A neuron's largest influence on any fact, as a two-byte integer."""

_NUMBERS = ("before", "after", "d_plus", "d_minus", "q", "causal_share")

Place = tuple[str, int, int]
"""Site, layer and neuron."""


@dataclass(frozen=True)
class Explorer:
    """The neurons that the page shows."""

    shown: int
    """Number of neurons shown."""

    total: int
    """Number of recorded neurons."""

    spurious_shown: int
    """Number of spurious neurons shown."""

    spurious: int
    """Number of spurious neurons."""

    with_tokens: int
    """Number of neurons with promoted and suppressed tokens."""

    data: Markup
    """Facts, neurons and their influences as JSON, safe inside a script element."""


def explored(neurons: pd.DataFrame, facts: int) -> pd.DataFrame:
    """The neurons that fit into the explorer, ordered by the change of their influence.

    These are the neurons that changed most and, if there is space, the spurious ones with the
    largest D⁻.

    Args:
        neurons: A diagnosis' table of neurons.
        facts: Number of facts.
    """
    room = min(MOST, max(LEAST, BYTES // (CELL * facts + ROW)))
    change = (neurons["after"] - neurons["before"]).abs()
    order = np.argsort(-change.to_numpy(), kind="stable")
    first = order[: min(CHANGED, room)]
    spurious = np.flatnonzero(neurons["spurious"].to_numpy(dtype=bool))
    gained = neurons["d_minus"].to_numpy()[spurious]
    more = spurious[np.argsort(-gained, kind="stable")]
    more = more[~np.isin(more, first)][: room - len(first)]
    chosen = np.concatenate([first, more])
    return neurons.iloc[chosen[np.argsort(-change.to_numpy()[chosen], kind="stable")]]


def explorer_with_tokens(
    before: Recording,
    after: Recording,
    neurons: pd.DataFrame,
    written: Callable[[pd.DataFrame], pd.DataFrame],
) -> Explorer | None:
    """The explorer of a diagnosis, with tokens for the neurons that changed most.

    Args:
        before: The recording before unlearning.
        after: The recording after unlearning.
        neurons: The diagnosis' table of neurons.
        written: Computes the tokens that neurons of the unlearned model promote and suppress
            (`direct_logit_effect.neuron_tokens`).
    """
    changed = explored(neurons, len(before.fact_ids)).head(WRITERS)
    return explorer(before, after, neurons, written(changed))


def explorer(
    before: Recording,
    after: Recording,
    neurons: pd.DataFrame,
    tokens: pd.DataFrame | None = None,
) -> Explorer | None:
    """The explorer of a diagnosis; None if the recordings contain only means over facts.

    Args:
        before: The recording before unlearning.
        after: The recording after unlearning.
        neurons: The diagnosis' table of neurons.
        tokens: The tokens of some neurons: `site`, `layer`, `neuron`, `promotes`, `suppresses`
            (lists of tokens as text).
    """
    if not (before.per_fact and after.per_fact):
        return None
    chosen = explored(neurons, len(before.fact_ids))
    written: dict[Place, Any] = {}
    if tokens is not None:
        written = dict(zip(_places(tokens), tokens.to_dict("records"), strict=True))
    influence = np.stack([_influence(recording, chosen) for recording in (before, after)], axis=1)
    largest = np.abs(influence).max(axis=(1, 2))
    scale = np.where(largest > 0, largest, 1.0) / STEPS
    steps = np.rint(influence / scale[:, None, None]).astype("<i2")
    data = {
        "unit": before.provenance.unit,
        "facts": list(before.fact_ids),
        "splits": list(before.splits),
        "neurons": _columns(neurons, chosen, written),
        "scale": [_short(value) for value in scale],
        "steps": base64.b64encode(steps.tobytes()).decode("ascii"),
    }
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Explorer(
        shown=len(chosen),
        total=len(neurons),
        spurious_shown=int(chosen["spurious"].sum()),
        spurious=int(neurons["spurious"].sum()),
        with_tokens=len(written),
        data=in_script(text),
    )


def _influence(recording: Recording, chosen: pd.DataFrame) -> Float[np.ndarray, "neuron fact"]:
    """Influence of each chosen neuron on each fact."""
    found = np.empty((len(chosen), len(recording.fact_ids)))
    for site, rows in chosen.reset_index(drop=True).groupby("site"):
        neurons = recording.sites[str(site)]
        assert isinstance(neurons, SiteRecording), "recorded per fact"
        at = neurons.total[:, rows["layer"].to_numpy(), rows["neuron"].to_numpy()]
        found[rows.index.to_numpy()] = at.T
    return found


def _columns(
    neurons: pd.DataFrame, chosen: pd.DataFrame, written: dict[Place, Any]
) -> dict[str, list[Any]]:
    """Position, numbers and tokens of each neuron as lists; None where one is missing."""
    places = list(_places(chosen))
    columns = dict(
        zip(("site", "layer", "neuron"), map(list, zip(*places, strict=True)), strict=True)
    )
    columns |= {
        name: [_short(value) for value in chosen[name]] for name in _NUMBERS if name in chosen
    }
    columns["spurious"] = chosen["spurious"].astype(int).tolist()
    if "expert" in neurons.columns:
        at = neurons.index.get_indexer(chosen.index)
        for name, whole in zip(("expert", "index"), expert_places(neurons), strict=True):
            columns[name] = [int(value) for value in whole[at]]
    if written:
        for name in ("promotes", "suppresses"):
            columns[name] = [written[p][name] if p in written else None for p in places]
    return columns


def _places(table: pd.DataFrame) -> Iterator[Place]:
    for site, layer, neuron in table[["site", "layer", "neuron"]].itertuples(index=False):
        yield str(site), int(layer), int(neuron)


def _short(value: float) -> float | None:
    """Four significant digits, more than the page shows; None for NaN."""
    return None if math.isnan(value) else float(f"{value:.4g}")
