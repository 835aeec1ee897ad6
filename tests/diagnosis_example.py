"""A small diagnosis with a planted inhibitor, and tables of any size, for figures and reports."""

import numpy as np
import pandas as pd

from neuronscope.analysis.diagnosis import Diagnosis, compare
from neuronscope.plots._look import untitled
from neuronscope.results.recording import Provenance, Recording, SiteRecording

WIDTHS = {
    "mlp.gate": 8192,
    "mlp.up": 8192,
    "mlp.down": 3072,
    "attn.q": 3072,
    "attn.k": 1024,
    "attn.v": 1024,
    "attn.o": 3072,
}
"""Neurons per layer at the paper's seven sites of Llama-3.2-3B; 28 layers make 774,144."""

INHIBITOR = (1, 3)
"""Layer and neuron that push against the forgotten facts after unlearning."""

FORGET, RETAIN = 16, 20


def example_diagnosis(
    model: str = "a/model", attribution: str = "integrated_gradients"
) -> Diagnosis:
    """Two layers of twelve neurons; sixteen facts forgotten by one inhibitor, twenty kept."""
    return compare(*example_recordings(model, attribution))


def example_recordings(
    model: str = "a/model", attribution: str = "integrated_gradients"
) -> tuple[Recording, Recording]:
    """What the example diagnosis compares."""
    return (
        _recording(model, attribution, push=0.0),
        _recording(f"{model}-after", attribution, push=2.0),
    )


def _recording(model: str, attribution: str, push: float) -> Recording:
    draw = np.random.default_rng(0)
    facts = FORGET + RETAIN
    forgotten = np.arange(facts) < FORGET
    score = (1 + draw.normal(0, 0.1, facts) - push * forgotten).astype(np.float32)
    total = draw.normal(0, 0.1, (facts, 2, 12)).astype(np.float32)
    total[(slice(FORGET), *INHIBITOR)] -= push
    explained = total.sum(axis=-1)
    site = SiteRecording(
        total=total,
        positive=np.maximum(total, 0),
        negative=np.minimum(total, 0),
        activation=np.ones_like(total),
        baseline_score=score[:, None] - explained - 1e-3,
        explained=explained,
        nodes=np.ones_like(explained),
    )
    return Recording(
        sites={"mlp.post": site},
        fact_ids=tuple(f"fact-{number:02d}" for number in range(facts)),
        splits=("forget",) * FORGET + ("retain",) * RETAIN,
        score=score,
        probability=(1 / (1 + np.exp(-score))).astype(np.float32),
        answered=~(forgotten & (push > 0)),
        relations=("capital",) * facts,
        provenance=Provenance(
            model=model,
            model_hash=f"hash of {model}",
            facts_hash="0f",
            attribution=attribution,
            settings={"steps": 8, "tolerance": 0.01},
            target="log_odds",
            unit="nats",
            prompt_form="plain",
            dtype="float32",
            versions={"neuronscope": "0.1.0"},
        ),
    )


def neuron_table(layers: int, widths: dict[str, int], seed: int = 0) -> pd.DataFrame:
    """A heavy-tailed table of neurons, as long as a real model's; about 3 % are spurious."""
    draw = np.random.default_rng(seed)
    tables = []
    for site, width in widths.items():
        count = layers * width
        layer, neuron = np.divmod(np.arange(count), width)
        before, loss = draw.standard_t(2, count) * 1e-3, np.abs(draw.standard_t(2, count)) * 1e-3
        q = draw.uniform(size=count)
        columns = {"site": site, "layer": layer, "neuron": neuron}
        columns |= {"before": before, "after": before - loss, "d_plus": loss / 2, "d_minus": loss}
        tables.append(pd.DataFrame(columns | {"p": q, "q": q, "spurious": q < 0.03}))
    return pd.concat(tables, ignore_index=True)


def two_matrices(before, after, site="mlp.post", **columns) -> pd.DataFrame:
    """The table of neurons from two matrices of layers and neurons."""
    before, after = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    layer, neuron = np.indices(before.shape)
    rows = {"site": site, "layer": layer.ravel(), "neuron": neuron.ravel()}
    rows |= {"before": before.ravel(), "after": after.ravel(), "q": np.nan, "spurious": False}
    rows |= {"d_minus": np.maximum(before - after, 0).ravel()}
    return pd.DataFrame(rows | columns)


def traces(figure):
    """A figure's traces by name."""
    return {trace.name: trace for trace in figure.data}


def note(figure):
    """What a figure says of itself below its title, in one line."""
    return untitled(figure)[1]
