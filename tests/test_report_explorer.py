"""The explorer: which neurons it shows, and their data."""

import base64
import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from diagnosis_example import FORGET, INHIBITOR, RETAIN, example_diagnosis, example_recordings
from diagnosis_example import neuron_table as many_neurons
from synthetic_recordings import make_recording
from test_report import EVIL, Page, text_of

from neuronscope.analysis.diagnosis import compare
from neuronscope.report import write_report
from neuronscope.report.explorer import BYTES, CELL, CHANGED, LEAST, MOST, ROW, explored, explorer
from neuronscope.report.page import render_report


def read(seen):
    """The data as the page's script reads them: influences by neuron, time and fact."""
    data = json.loads(seen.data)
    steps = np.frombuffer(base64.b64decode(data["steps"]), dtype="<i2")
    steps = steps.reshape(len(data["scale"]), 2, len(data["facts"]))
    columns = data["neurons"]
    data["neurons"] = [
        dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
    ]
    return data, steps * np.array(data["scale"])[:, None, None]


def seen_of(diagnosis, recordings, tokens=None):
    return explorer(*recordings, diagnosis.neurons, tokens)


@pytest.fixture(scope="module")
def recordings():
    return example_recordings()


@pytest.fixture(scope="module")
def diagnosis():
    return example_diagnosis()


def test_influences_are_the_recordings_to_four_digits(diagnosis, recordings):
    data, influence = read(seen_of(diagnosis, recordings))
    assert len(data["facts"]) == len(data["splits"]) == FORGET + RETAIN
    for row, values in zip(data["neurons"], influence, strict=True):
        for recording, found in zip(recordings, values, strict=True):
            exact = recording.sites[row["site"]].total[:, row["layer"], row["neuron"]]
            np.testing.assert_allclose(found, exact, atol=1e-3 * np.abs(exact).max())


def test_the_planted_neuron_comes_first_with_its_numbers(diagnosis, recordings):
    data, influence = read(seen_of(diagnosis, recordings))
    first = data["neurons"][0]
    assert (first["site"], first["layer"], first["neuron"]) == ("mlp.post", *INHIBITOR)
    assert first["spurious"] == 1 and first["d_minus"] == pytest.approx(2, abs=0.1)
    change = influence[0, 1] - influence[0, 0]
    np.testing.assert_allclose(change[:FORGET], -2, atol=0.01)
    np.testing.assert_allclose(change[FORGET:], 0, atol=0.01)
    assert sum(row["spurious"] for row in data["neurons"]) == 1


def test_neurons_have_their_tokens_or_none(diagnosis, recordings):
    place = {"site": "mlp.post", "layer": INHIBITOR[0], "neuron": INHIBITOR[1]}
    tokens = pd.DataFrame([place | {"promotes": [" a", "</script>"], "suppresses": ["b"]}])
    seen = seen_of(diagnosis, recordings, tokens)
    data, _ = read(seen)
    assert data["neurons"][0]["promotes"] == [" a", "</script>"]
    assert data["neurons"][1]["promotes"] is None
    assert "<" not in seen.data and seen.with_tokens == 1
    assert "tokens are given for 1." in text_of(render_report(diagnosis, explorer=seen))


def test_the_most_changed_and_all_spurious_neurons_are_shown():
    neurons = many_neurons(30, {"mlp.post": 1536})
    change = (neurons["after"] - neurons["before"]).abs()
    chosen = explored(neurons, 24)
    assert chosen["spurious"].sum() == neurons["spurious"].sum() > 1000
    assert set(change.nlargest(CHANGED).index) <= set(chosen.index)
    sizes = (chosen["after"] - chosen["before"]).abs()
    assert sizes.is_monotonic_decreasing and not chosen.index.duplicated().any()


def test_without_space_for_all_spurious_neurons_some_are_omitted():
    neurons = many_neurons(2, {"mlp.post": 1536}).assign(spurious=True)
    assert len(explored(neurons, 1)) == min(MOST, BYTES // (CELL + ROW))
    assert len(explored(neurons, 10_000)) == LEAST
    chosen = explored(neurons, 10_000)
    assert set(chosen.index) == set(
        (neurons["after"] - neurons["before"]).abs().nlargest(LEAST).index
    )


def test_without_a_test_no_spurious_neurons_are_mentioned(diagnosis, recordings):
    untested = diagnosis.neurons.assign(spurious=False, q=np.nan)
    seen = explorer(*recordings, untested)
    assert (seen.shown, seen.total, seen.spurious) == (24, 24, 0)
    text = text_of(render_report(diagnosis, explorer=seen))
    assert "24 of 24 neurons are listed" in text
    assert all(row["q"] is None for row in read(seen)[0]["neurons"])
    whole = text_of(render_report(diagnosis, explorer=explorer(*recordings, diagnosis.neurons)))
    assert "changed most, and all 1 spurious one." in whole


def test_a_mixtures_neuron_has_its_expert_and_index():
    influence = np.random.default_rng(0).normal(size=(6, 1, 2, 8))
    before, after = (
        make_recording(influence * push, splits=["forget"] * 3 + ["retain"] * 3, experts=4)
        for push in (1.0, 2.0)
    )
    data, _ = read(seen_of(compare(before, after), (before, after)))
    for row in data["neurons"]:
        assert (row["expert"], row["index"]) == divmod(row["neuron"], 2)


def test_means_alone_have_no_explorer(diagnosis, recordings):
    means = [
        dataclasses.replace(one, sites={site: arrays.means(np.ones(FORGET + RETAIN, bool))
                                        for site, arrays in one.sites.items()})
        for one in recordings
    ]  # fmt: skip
    assert explorer(*means, diagnosis.neurons) is None
    assert 'id="explorer"' not in render_report(diagnosis)


def test_names_from_outside_are_text_in_the_data(diagnosis, recordings):
    evil = [dataclasses.replace(one, fact_ids=(EVIL, *one.fact_ids[1:])) for one in recordings]
    page = render_report(diagnosis, explorer=seen_of(diagnosis, evil))
    assert 'id="explorer"' in page
    assert "img" not in {tag for tag, _ in Page(page).tags}
    assert 'alert("1")' not in page


def test_a_model_of_thirty_layers_makes_a_page_of_about_six_megabytes(tmp_path, diagnosis):
    neurons = many_neurons(30, {"mlp.post": 1536})
    influence = np.random.default_rng(0).normal(size=(24, 1, 30, 1536))
    recording = make_recording(influence)
    place = ["site", "layer", "neuron"]
    words = [[f" token{number}" for number in range(8)]]
    tokens = explored(neurons, 24)[place].head(500)
    tokens = tokens.assign(promotes=words * 500, suppresses=words * 500)
    seen = explorer(recording, recording, neurons, tokens)
    many = dataclasses.replace(diagnosis, neurons=neurons)
    write_report(many, tmp_path / "report.html", explorer=seen)
    assert 4.5e6 < (tmp_path / "report.html").stat().st_size < 6.6e6
