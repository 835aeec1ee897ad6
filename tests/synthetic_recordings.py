"""Recordings made from arrays, to test their analysis without a model."""

import numpy as np

from neuronscope.results.recording import Provenance, Recording, SiteMeans, SiteRecording


def make_site(influence, score, joint=False, residual=0.0):
    """A site from influence by [fact, position, layer, neuron]; the baseline takes what is left."""
    total = influence.sum(axis=1)
    explained = total.sum(axis=-1)
    if joint:
        explained = explained.sum(axis=-1, keepdims=True)
    return SiteRecording(
        total=total,
        positive=influence.max(axis=1),
        negative=influence.min(axis=1),
        activation=np.ones_like(total),
        baseline_score=score[:, None] - explained - residual,
        explained=explained,
        nodes=np.ones_like(explained),
    )


def make_recording(
    influence,
    splits=None,
    score=None,
    joint=False,
    residual=0.0,
    probability=None,
    answered=None,
    sites=("mlp.post",),
    relations=None,
    **provenance,
):
    """A recording from influence by [fact, position, layer, neuron], the same at every site.

    Unless stated otherwise, all facts have the same relation."""
    influence = np.asarray(influence, dtype=np.float64)
    facts = len(influence)
    score = influence.sum(axis=(1, 2, 3)) if score is None else np.asarray(score, dtype=np.float64)
    everything = dict(
        model="a model",
        model_hash="m",
        facts_hash="f",
        attribution="integrated_gradients",
        settings={"steps": 16, "tolerance": 1e-3, "baseline": None},
        target="log_odds",
        unit="nats",
        prompt_form="plain",
        dtype="float32",
        versions={"numpy": "2"},
    )
    return Recording(
        sites={site: make_site(influence, score, joint, residual) for site in sites},
        fact_ids=tuple(f"fact-{number}" for number in range(facts)),
        splits=tuple(splits or ["forget"] * facts),
        score=score,
        probability=np.full(facts, 0.5) if probability is None else np.asarray(probability, float),
        answered=np.ones(facts, bool) if answered is None else np.asarray(answered, bool),
        provenance=Provenance(**(everything | provenance)),
        relations=tuple(relations or ["capital"] * facts),
    )


def reduce(recording):
    """The same recording as one that holds only means over its facts."""
    everything = np.ones(len(recording.fact_ids), dtype=bool)
    sites: dict[str, SiteMeans] = {
        name: site.means(everything) for name, site in recording.sites.items()
    }
    return Recording(**(vars(recording) | {"sites": sites}))


def random_influence(seed, facts=4, positions=3, layers=2, neurons=5):
    return np.random.default_rng(seed).normal(size=(facts, positions, layers, neurons))
