import json
import re

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import pytest
from diagnosis_example import (
    INHIBITOR,
    example_diagnosis,
    neuron_table,
    note,
    traces,
    two_matrices,
)
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from neuronscope.plots import _look
from neuronscope.plots._look import DARK, untitled
from neuronscope.plots._symlog import from_axis, linear_part, to_axis
from neuronscope.plots.attribution_distribution import attribution_distribution
from neuronscope.plots.cumulative_variation import cumulative_variation
from neuronscope.plots.decomposition import PARTS, decomposition
from neuronscope.plots.influence_shift import DOTS, EXTREMES, influence_shift
from neuronscope.plots.module_map import module_map
from neuronscope.plots.neuron_heatmap import neuron_heatmap

LAYERS, WIDTH = 28, 27_648
"""774,144 neurons: all linear maps' outputs of Llama-3.2-3B."""

MEANING = ("ERASED", "HIDDEN", "ELSEWHERE", "REMAINDER", "BEFORE", "AFTER")

CONES = {
    "normal": np.eye(3),
    "protan": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.052]],
    "deutan": [[0.3673, 0.8606, -0.228], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.969]],
    "tritan": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
"""Linear RGB as perceived: Machado, Oliveira & Fernandes 2009, full severity."""


@pytest.fixture(scope="module")
def diagnosis():
    return example_diagnosis()


@pytest.fixture(scope="module")
def figures(diagnosis):
    return {
        "heatmap": neuron_heatmap(diagnosis.neurons),
        "shift": influence_shift(diagnosis.neurons),
        "curve": cumulative_variation(diagnosis.curve),
        "modules": module_map(diagnosis.modules),
        "distribution": attribution_distribution(diagnosis.neurons),
        "parts": decomposition(diagnosis.layers),
    }


def test_the_spurious_trace_holds_the_spurious_neurons_at_their_values():
    neurons = two_matrices([[0.1, 0.2, -0.1]], [[0.1, -0.9, -0.1]], spurious=[False, True, False])
    drawn = traces(influence_shift(neurons))
    np.testing.assert_array_equal(drawn["spurious"].customdata, [[0.2, -0.9]])
    np.testing.assert_array_equal(drawn["other"].customdata, [[0.1, 0.1], [-0.1, -0.1]])
    assert list(drawn["spurious"].text) == ["mlp.post, layer 0, neuron 1"]
    linear = linear_part(neurons[["before", "after"]].to_numpy().ravel())
    np.testing.assert_allclose(from_axis(np.array(drawn["spurious"].y), linear), [-0.9])


def test_neurons_that_have_not_changed_lie_on_the_diagonal():
    values = np.linspace(-3, 3, 50).reshape(1, -1) ** 3
    drawn = traces(influence_shift(two_matrices(values, values)))
    np.testing.assert_array_equal(drawn["other"].x, drawn["other"].y)
    assert drawn["unchanged"].x == drawn["unchanged"].y


def test_each_of_774144_neurons_is_a_dot_or_counted_in_the_shading():
    neurons = neuron_table(LAYERS, {"mlp.post": WIDTH})
    spurious = int(neurons["spurious"].sum())
    assert spurious > DOTS
    figure = influence_shift(neurons)
    drawn = traces(figure)
    shaded = int(drawn["the rest"].customdata.sum())
    assert (len(drawn["spurious"].x), len(drawn["other"].x)) == (DOTS, EXTREMES)
    assert shaded + DOTS + EXTREMES == len(neurons)
    assert f"{DOTS:,} of {spurious:,} spurious neurons" in note(figure)
    assert f"the other {shaded:,}" in note(figure)
    strongest = neurons.loc[neurons["spurious"], "d_minus"].idxmax()
    worst = neurons.loc[strongest]
    assert f"layer {worst['layer']}, neuron {worst['neuron']}" in drawn["spurious"].text[0]


def test_neurons_that_were_not_measured_are_left_out_and_counted():
    neurons = two_matrices([[0.1, np.nan, 0.3]], [[0.1, 0.2, -0.3]])
    assert len(traces(influence_shift(neurons))["other"].x) == 2
    assert "1 neurons were not measured" in note(influence_shift(neurons))
    distribution = attribution_distribution(neurons)
    assert np.nansum(distribution.data[1].y) == 2
    assert note(distribution).startswith("2 of 3 neurons")


def test_without_null_facts_the_shift_states_that_nothing_was_tested():
    tested = two_matrices([[0.1]], [[0.2]], q=0.5)
    assert "Not tested" in note(influence_shift(two_matrices([[0.1]], [[0.2]])))
    assert "Not tested" not in note(influence_shift(tested))


def test_the_curve_is_drawn_and_read_off_at_a_hundred_neurons():
    m = np.arange(1, 301)
    curve = pd.DataFrame({"m": m, "d_plus": np.sqrt(m), "d_minus": 2.0 * m})
    figure = cumulative_variation(curve)
    lines, marks = figure.data[::2], figure.data[1::2]
    for line, column in zip(lines, ("d_plus", "d_minus"), strict=True):
        np.testing.assert_array_equal(line.y, curve[column])
    assert [(mark.x[0], mark.y[0]) for mark in marks] == [(100, 10.0), (100, 200.0)]
    assert "At m = 100: D⁺ = 10 nats, D⁻ = 200 nats" in note(figure)
    assert figure.layout.xaxis.type == "log"
    assert cumulative_variation(curve, log_x=False).layout.xaxis.type is None


def test_a_curve_of_fewer_neurons_is_read_off_at_its_end():
    curve = pd.DataFrame({"m": [1, 24], "d_plus": [1.0, 2.0], "d_minus": [3.0, 4.0]})
    assert "At m = 24: D⁺ = 2 nats, D⁻ = 4 nats" in note(cumulative_variation(curve))


def test_the_module_map_shows_each_value_and_names_missing_modules():
    rows = [("mlp.post", 0, 1.0, 5.0), ("mlp.post", 3, 2.0, 6.0), ("attn.q", 3, 0.5, 7.0)]
    modules = pd.DataFrame(rows, columns=["site", "layer", "d_plus", "d_minus"])
    figure = module_map(modules)
    for trace in figure.data:
        recorded = {
            (site, int(trace.y[row])): trace.z[row, column]
            for row, column in np.argwhere(~np.isnan(trace.z))
            for site in [trace.x[column]]
        }
        assert recorded == {(site, layer): value[trace.name] for site, layer, value in _named(rows)}
    missing = "mlp.gate, mlp.up, mlp.down, attn.k, attn.v, attn.o"
    assert f"Not recorded: {missing}." in note(figure)
    greyed = [mark for mark in figure.layout.annotations if mark.text == "not recorded"]
    assert len(greyed) == 2 * len(missing.split(", "))
    assert figure.layout.coloraxis.cmax == figure.layout.coloraxis2.cmax == 7.0


def _named(rows):
    return [(site, layer, {"d_plus": plus, "d_minus": minus}) for site, layer, plus, minus in rows]


def test_every_neuron_is_counted_once_before_and_once_after():
    neurons = neuron_table(4, {"mlp.post": 3000})
    for trace in attribution_distribution(neurons).data:
        assert np.nansum(trace.y) == len(neurons)


def test_a_single_strong_neuron_has_a_separate_bin():
    before = np.full((1, 1000), 1e-3)
    after = before.copy()
    after[0, 5] = -0.7
    drawn = traces(attribution_distribution(two_matrices(before, after)))
    counts, bounds = np.array(drawn["after"].y), np.array(drawn["after"].customdata)
    (at,) = np.flatnonzero((bounds[:, 0] <= -0.7) & (bounds[:, 1] >= -0.7))
    assert counts[at] == 1 and np.isnan(drawn["before"].y[at])


@pytest.mark.parametrize("figure", [attribution_distribution, influence_shift, neuron_heatmap])
def test_silent_neurons_can_be_drawn(figure):
    assert json.loads(figure(two_matrices(np.zeros((2, 5)), np.zeros((2, 5)))).to_json())["data"]


def test_in_every_layer_the_bars_add_up_to_the_drop(diagnosis):
    figure = decomposition(diagnosis.layers)
    bars = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    assert [bar.legendgroup for bar in bars] == list(PARTS)
    assert figure.layout.barmode == "relative"
    line = traces(figure)["drop"]
    assert diagnosis.drop == pytest.approx(2.0)
    np.testing.assert_allclose(np.sum([bar.y for bar in bars], axis=0), diagnosis.drop)
    np.testing.assert_allclose(line.y, diagnosis.drop)
    planted = dict(zip(PARTS, (bar.y[INHIBITOR[0]] for bar in bars), strict=True))
    assert planted["negative_gained"] > 1.8 and abs(planted["elsewhere"]) < 0.05


def test_the_whiskers_end_at_the_intervals(diagnosis):
    layers = diagnosis.layers
    for trace in decomposition(layers).data:
        if trace.error_y.array is not None:
            np.testing.assert_allclose(
                trace.y + trace.error_y.array, layers[f"{trace.legendgroup}_high"]
            )
            low = trace.y - trace.error_y.arrayminus
            np.testing.assert_allclose(low, layers[f"{trace.legendgroup}_low"])


def test_joint_attribution_has_one_stack_per_site(diagnosis):
    first = diagnosis.layers.head(1).assign(layer="all")
    both = pd.concat([first, first.assign(site="attn.o")], ignore_index=True)
    assert list(decomposition(both).data[0].text) == ["mlp.post all", "attn.o all"]
    assert list(decomposition(first).data[0].text) == ["all"]


def test_recordings_of_means_have_no_intervals(diagnosis):
    low_and_high = [name for name in diagnosis.layers if name.endswith(("_low", "_high"))]
    reduced = diagnosis.layers.assign(**dict.fromkeys(low_and_high, np.nan))
    assert "without intervals" in note(decomposition(reduced))
    assert "without intervals" not in note(decomposition(diagnosis.layers))


def test_each_axis_and_colour_bar_of_influence_carries_the_unit(diagnosis):
    unit = "nats per token"
    for figure, axes in (
        (neuron_heatmap(diagnosis.neurons, unit=unit), ["coloraxis"]),
        (influence_shift(diagnosis.neurons, unit), ["xaxis", "yaxis"]),
        (cumulative_variation(diagnosis.curve, unit), ["yaxis"]),
        (module_map(diagnosis.modules, unit), ["coloraxis", "coloraxis2"]),
        (attribution_distribution(diagnosis.neurons, unit), ["xaxis"]),
        (decomposition(diagnosis.layers, unit), ["yaxis", "yaxis2", "yaxis3"]),
    ):
        for axis in axes:
            place = figure.layout[axis]
            title = place.colorbar.title if axis.startswith("color") else place.title
            assert f"({unit})" in title.text


def test_figures_share_one_template_and_plotlys_default_is_unchanged(figures):
    assert plotly.io.templates.default == "plotly"
    for figure in figures.values():
        assert figure.layout.template == _look.TEMPLATE
        assert figure.layout.width is None  # as wide as the page
        assert figure.layout.title.text


def test_every_colour_without_a_fixed_meaning_has_a_dark_counterpart(figures):
    same = {vars(_look)[name] for name in MEANING} | {"white"}
    for figure in figures.values():
        colours = set(re.findall(r'"(#[0-9a-f]{6})"', json.dumps(untitled(figure)[2], default=str)))
        assert _look.INK in colours
        assert colours - same <= set(DARK)


def test_colours_with_a_meaning_are_distinct_for_every_kind_of_colour_vision():
    colours = [vars(_look)[name] for name in MEANING]
    assert len(set(colours)) == len(colours)
    for seen in CONES.values():
        lab = np.array([_lab(colour, np.array(seen)) for colour in colours])
        distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
        assert (
            distance[~np.eye(len(lab), dtype=bool)].min() > 20
        )  # nine just noticeable differences


def test_colours_of_methods_are_distinct_from_each_other_and_from_the_controls():
    for ink in (_look.INK, DARK[_look.INK]):
        colours = [*_look.SERIES, _look.ELSEWHERE, ink]
        for seen in CONES.values():
            lab = np.array([_lab(colour, np.array(seen)) for colour in colours])
            distance = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
            assert distance[~np.eye(len(lab), dtype=bool)].min() > 18


def _lab(colour, seen):
    """CIE L*a*b* of a colour as perceived."""
    rgb = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4339, 0.3762, 0.1899], [0.2127, 0.7152, 0.0722], [0.0178, 0.1095, 0.8727]]
    xyz = np.array(to_xyz) @ np.clip(seen @ linear, 0, 1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@given(arrays.arrays(float, 7, elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)))
def test_the_symmetric_logarithm_is_invertible_and_keeps_signs(values):
    linear = linear_part(values)
    places = to_axis(values, linear)
    assert (np.sign(places) == np.sign(values)).all()
    np.testing.assert_allclose(from_axis(places, linear), values)
