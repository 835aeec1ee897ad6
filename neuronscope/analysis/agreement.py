"""Agreement between two attribution methods on the same model and facts.

Methods differ in scale, so ranks are compared: Spearman's correlation of the neurons' mean
influence, and the overlap of the strongest neurons.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from neuronscope.analysis.statistics import reflected_interval, spearman
from neuronscope.results.recording import Recording, SiteRecording

RESAMPLES = 500
"""Each resample ranks all neurons twice, so fewer are drawn than elsewhere."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of two methods over the neurons that both measured."""

    spearman: float
    """Rank correlation of the signed mean influence; NaN if one method is constant."""

    spearman_ci95: tuple[float, float]
    """95 % bootstrap interval over facts; NaN for fewer than two facts, or for recorded means."""

    overlap: float
    """Share of the `top` neurons of largest absolute influence that both methods have in common."""

    overlap_by_chance: float
    """Expected overlap of two unrelated rankings: top / n_neurons."""

    top: int
    """Number of neurons taken from each ranking."""

    n_neurons: int
    """Number of neurons that both methods measured (ablation measures only a selection)."""


def agreement(
    first: Recording, second: Recording, top: int = 100, split: str = "forget"
) -> Agreement:
    """Compare two methods' attributions to the neurons of one model.

    Args:
        first: A recording by one method.
        second: A recording of the same model and facts by another method.
        top: Number of strongest neurons to intersect; all if there are fewer.
        split: The split over which the influence is averaged.

    Raises:
        ValueError: If model, facts, target, prompt form or sites differ, or if no neuron was
            measured by both methods.
    """
    _check(first, second)
    x, y = (_mean_total(recording, split) for recording in (first, second))
    measured = ~np.isnan(x) & ~np.isnan(y)
    count = int(measured.sum())
    if not count:
        raise ValueError("Expected neurons that both methods measured, got none.")
    top = min(top, count)
    strongest = [set(np.argsort(-np.abs(z[measured]), kind="stable")[:top]) for z in (x, y)]
    low, high = np.nan, np.nan
    if first.per_fact and second.per_fact:
        tables = [_by_fact(recording, split, measured) for recording in (first, second)]

        def correlations(
            weights: Float[np.ndarray, "batch fact"],
        ) -> Float[np.ndarray, " batch"]:
            single = weights.astype(tables[0].dtype)  # double precision would need a large copy
            return np.array([spearman(row @ tables[0], row @ tables[1]) for row in single])

        interval = reflected_interval(correlations, len(tables[0]), resamples=RESAMPLES)
        low, high = np.clip(interval, -1, 1).tolist()
    return Agreement(
        spearman=spearman(x[measured], y[measured]),
        spearman_ci95=(low, high),
        overlap=len(strongest[0] & strongest[1]) / top,
        overlap_by_chance=top / count,
        top=top,
        n_neurons=count,
    )


def _check(first: Recording, second: Recording) -> None:
    ours, theirs = first.provenance, second.provenance
    for what, value, other in (
        ("model (by hash)", ours.model_hash, theirs.model_hash),
        ("facts (by hash)", ours.facts_hash, theirs.facts_hash),
        ("facts", first.fact_ids, second.fact_ids),
        ("target", ours.target, theirs.target),
        ("prompt form", ours.prompt_form, theirs.prompt_form),
        ("sites and their neurons", _shapes(first), _shapes(second)),
    ):
        if value != other:
            raise ValueError(
                f"Both recordings must have the same {what}, got {value!r:.80} and {other!r:.80}."
            )


def _shapes(recording: Recording) -> dict[str, tuple[int, ...]]:
    return {name: recording.sites[name].total.shape[-2:] for name in sorted(recording.sites)}


def _mean_total(recording: Recording, split: str) -> Float[np.ndarray, " neuron"]:
    """Mean influence of every neuron, the sites in alphabetical order."""
    return np.concatenate(
        [recording.means(site, split).total.ravel() for site in sorted(recording.sites)]
    )


def _by_fact(
    recording: Recording, split: str, measured: Bool[np.ndarray, " all"]
) -> Float[np.ndarray, "fact neuron"]:
    """Influence of the measured neurons per fact, in the order of `_mean_total`."""
    rows = recording.in_split(split)
    tables = [
        site.total[rows].reshape(int(rows.sum()), -1)
        for _, site in sorted(recording.sites.items())
        if isinstance(site, SiteRecording)
    ]
    return np.concatenate(tables, axis=1)[:, measured]
