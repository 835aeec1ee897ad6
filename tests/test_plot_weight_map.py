"""The map of contributions to the drop: every share in its cell, and the sums."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from diagnosis_example import note, traces
from hypothesis import given, settings
from hypothesis import strategies as st

from neuronscope.plots import _look
from neuronscope.plots.weight_map import LABELS, MODULES, weight_map


def modules(*rows):
    return pd.DataFrame(rows, columns=["module", "layer", "contribution"])


EXAMPLE = modules(
    ("attn.o", 0, 2.0),
    ("mlp.down", 0, 3.0),
    ("mlp.down", 1, 4.0),
    ("norm", 0, 0.5),
    ("norm", -1, -0.5),
    ("embedding", -1, 1.0),
)


def drawn_shares(figure):
    """The cells of the map, by module and layer name."""
    cells = traces(figure)["share"]
    return {
        (cells.y[row], cells.text[row][column]): cells.z[row, column]
        for row, column in np.argwhere(~np.isnan(cells.z))
    }


def test_every_share_is_in_the_cell_of_its_module_and_layer():
    outside = "outside all layers"
    assert drawn_shares(weight_map(EXAMPLE)) == {
        ("attn.o", "layer 0"): 0.2,
        ("mlp.down", "layer 0"): pytest.approx(0.3),
        ("mlp.down", "layer 1"): 0.4,
        ("norm", "layer 0"): 0.05,
        ("norm", outside): -0.05,
        ("embedding", outside): 0.1,
    }


def test_the_bars_are_the_sums_of_the_maps_rows_and_columns():
    drawn = traces(weight_map(EXAMPLE))
    cells = drawn["share"].z
    assert list(drawn["modules"].y) == list(drawn["share"].y)
    np.testing.assert_allclose(drawn["modules"].x, np.nansum(cells, axis=1), atol=1e-12)
    # One empty column of the map separates the layers from what lies outside them.
    np.testing.assert_allclose(drawn["layers"].y, np.nansum(cells[:, [0, 1, 3]], axis=0))
    assert list(drawn["modules"].text) == ["70 %", "20 %", "0.0 %", "10 %"]


def test_bars_are_above_their_columns():
    drawn = traces(weight_map(EXAMPLE))
    edges, bars = np.array(drawn["share"].x), drawn["layers"]
    assert len(edges) == drawn["share"].z.shape[1] + 1
    for place, width, column in zip(bars.x, bars.width, (0, 1, 3), strict=True):
        assert edges[column] - 1e-9 <= place - width / 2
        assert place + width / 2 <= edges[column + 1] + 1e-9


@settings(max_examples=25)  # each draws a figure
@given(st.lists(st.floats(0.01, 9), min_size=1, max_size=90))
def test_all_shares_add_up_to_one_and_few_layers_are_named(contributions):
    figure = weight_map(modules(*(("mlp.up", at, value) for at, value in enumerate(contributions))))
    assert np.nansum(traces(figure)["share"].z) == pytest.approx(1.0)
    named = figure.layout.xaxis2.ticktext
    assert 1 <= len(named) <= LABELS and named[0] == "0"


def test_colours_end_at_the_largest_share_and_are_centred_at_none():
    axis = weight_map(EXAMPLE).layout.coloraxis
    assert (axis.cmin, axis.cmax) == (-0.4, 0.4)
    assert [colour for _, colour in axis.colorscale] == [_look.BEFORE, _look.CENTRE, _look.AFTER]
    bars = traces(weight_map(modules(("mlp.up", 0, 2.0), ("mlp.down", 0, -1.0))))["modules"]
    assert dict(zip(bars.y, bars.marker.color, strict=True)) == {
        "mlp.up": _look.AFTER,
        "mlp.down": _look.BEFORE,
    }


def test_a_change_without_effect_can_be_drawn():
    cells = traces(weight_map(modules(("mlp.up", 0, 0.0), ("mlp.up", 1, 0.0))))["share"].z
    np.testing.assert_array_equal(cells, [[0.0, 0.0]])


def test_modules_come_in_a_fixed_order_and_unknown_ones_last():
    rows = [(name, 0, 1.0) for name in ("zebra", *reversed(MODULES), "alpaca")]
    figure = weight_map(modules(*rows))
    assert list(traces(figure)["share"].y) == [*MODULES, "alpaca", "zebra"]
    low, high = figure.layout.yaxis2.range
    assert low > high  # the first is on top


def test_the_column_outside_the_layers_is_drawn_and_explained_only_if_needed():
    assert "“outside”" in note(weight_map(EXAMPLE))
    assert weight_map(EXAMPLE).layout.xaxis2.ticktext[-1] == "outside"
    inside = weight_map(EXAMPLE[EXAMPLE["layer"] >= 0])
    assert "outside" not in note(inside) and "outside" not in inside.layout.xaxis2.ticktext
    assert "3 modules × 2 layers" in note(inside)


def test_it_has_the_common_look_and_a_dark_counterpart_for_every_colour():
    figure = weight_map(EXAMPLE)
    assert figure.layout.template == _look.TEMPLATE and figure.layout.width is None
    content = json.dumps(_look.untitled(figure)[2], default=str)
    same = {_look.BEFORE, _look.AFTER}
    assert set(re.findall(r'"(#[0-9a-f]{6})"', content)) - same <= set(_look.DARK)
