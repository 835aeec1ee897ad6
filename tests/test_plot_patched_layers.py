import numpy as np
import pytest
from diagnosis_example import note, traces
from readable import LAYERS, case_of, readable

from neuronscope.evidence.depth_score import DepthScore
from neuronscope.plots.patched_layers import patched_layers


@pytest.mark.parametrize("reference", ["retain model", "other subjects"])
def test_both_sources_are_drawn_with_their_intervals(reference):
    retain = readable("never") if reference == "retain model" else None
    case = case_of(readable("knows"), readable("hides"))
    layers = DepthScore(retain=retain)(case).tables["layers"]
    figure = patched_layers(layers)
    lines = traces(figure)
    for source, name in ((reference, f"reference: {reference}"), ("after", "after")):
        rows = layers[layers["source"] == source]
        np.testing.assert_array_equal(lines[name].x, np.arange(LAYERS))
        np.testing.assert_array_equal(lines[name].y, rows["loss"])
        band = lines[f"{name}, 95 % interval"]
        np.testing.assert_array_equal(band.y, [*rows["high"], *rows["low"].iloc[::-1]])
    assert reference in note(figure) and "10 facts" in note(figure).replace("<br>", " ")


def test_the_threshold_is_drawn_and_named_and_the_axis_has_the_unit():
    case = case_of(readable("knows"), readable("hides"))
    figure = patched_layers(DepthScore(threshold=0.25)(case).tables["layers"], unit="nats")
    assert [shape.y0 for shape in figure.layout.shapes] == [0.25]
    assert "0.25 nats" in note(figure).replace("<br>", " ")
    assert "(nats)" in figure.layout.yaxis.title.text
