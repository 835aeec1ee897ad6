import re

import numpy as np
import pandas as pd
import pytest
from diagnosis_example import note, traces, two_matrices
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from neuronscope.plots.neuron_heatmap import neuron_heatmap, signed_max_pool

LAYERS, WIDTH = 28, 27_648
"""774,144 neurons: all linear maps' outputs of Llama-3.2-3B."""


def hover(trace, row, column):
    """The text that plotly shows for a heatmap's cell, numbers written plainly."""
    cell = {f"customdata[{i}]": value for i, value in enumerate(trace.customdata[row, column])}
    cell |= {"y": trace.y[row], "z": f"{trace.z[row, column]:.3g}", "fullData.name": trace.name}
    return re.sub(r"%\{([^}:]+)[^}]*\}", lambda found: str(cell[found[1]]), trace.hovertemplate)


def test_pooling_keeps_the_largest_magnitude_with_its_sign():
    values = np.array([[1.0, -3.0, 2.0, 0.0, 5.0], [0.0, 0.0, -1.0, 1.0, np.nan]])
    cells, winners = signed_max_pool(values, 2)
    np.testing.assert_array_equal(cells, [[-3, 2, 5], [0, -1, np.nan]])
    np.testing.assert_array_equal(winners, [[1, 2, 4], [0, 2, 4]])


@given(
    arrays.arrays(float, (2, 13), elements=st.floats(-9, 9, allow_nan=False)), st.integers(1, 15)
)
def test_a_pooled_cell_is_one_of_its_neurons_and_none_is_larger(values, width):
    cells, winners = signed_max_pool(values, width)
    np.testing.assert_array_equal(cells, np.take_along_axis(values, winners, axis=1))
    for cell in range(cells.shape[1]):
        members = values[:, cell * width : (cell + 1) * width]
        assert (winners[:, cell] // width == cell).all()
        np.testing.assert_array_equal(np.abs(cells[:, cell]), np.abs(members).max(axis=1))


def test_a_lone_neuron_among_774144_is_drawn_named_and_in_its_place():
    layer, neuron = 17, 20_011
    after = np.zeros((LAYERS, WIDTH))
    after[layer, neuron] = -2.0
    drawn = traces(neuron_heatmap(two_matrices(np.zeros_like(after), after)))

    assert not drawn["before"].z.any()
    for panel in ("after", "difference"):
        trace = drawn[panel]
        ((row, column),) = np.argwhere(trace.z)
        assert trace.z.shape[1] <= 768
        assert abs(trace.x0 + column * trace.dx - neuron) <= trace.dx / 2
        text = hover(trace, row, column)
        assert f"layer {layer}, neuron {neuron}: <b>-2</b> nats" in text
        first, last = map(int, re.search(r"largest of neurons (\d+) to (\d+)", text).groups())
        assert first <= neuron <= last and last - first + 1 == trace.dx


def test_without_pooling_every_cell_is_its_neuron():
    before, after = np.arange(12.0).reshape(2, 6), np.full((2, 6), 3.0)
    drawn = traces(neuron_heatmap(two_matrices(before, after)))
    np.testing.assert_array_equal(drawn["before"].z, before)
    np.testing.assert_array_equal(drawn["difference"].z, after - before)
    assert drawn["after"].x0 == 0 and drawn["after"].dx == 1
    assert hover(drawn["difference"], 1, 4) == (
        "layer 1, neuron 4: <b>-7</b> nats<extra>difference</extra>"
    )


def test_the_panels_share_zoom_and_a_scale_centred_at_zero():
    figure = neuron_heatmap(
        two_matrices([[0.0, -4.0]], [[1.0, 0.0]]), what=("difference", "before")
    )
    assert [trace.name for trace in figure.data] == ["difference", "before"]
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert figure.layout.coloraxis.cmin == -figure.layout.coloraxis.cmax < 0
    assert figure.layout.xaxis2.matches == "x" and figure.layout.yaxis2.matches == "y"


def test_an_outlier_does_not_wash_out_the_others_and_the_limit_is_stated():
    before = np.full((4, 500), 0.1)
    before[2, 7] = 50.0
    figure = neuron_heatmap(two_matrices(before, before), what=("before",))
    assert figure.layout.coloraxis.cmax == pytest.approx(0.1)
    assert "±0.1 nats, the 99 % quantile" in note(figure)
    lone = neuron_heatmap(two_matrices(np.where(before == 50, 50, 0.0), np.zeros_like(before)))
    assert lone.layout.coloraxis.cmax == 50


def test_layers_that_were_not_recorded_leave_no_rows():
    neurons = two_matrices(np.ones((3, 4)), np.zeros((3, 4)))
    neurons["layer"] *= 8
    trace = neuron_heatmap(neurons).data[0]
    assert list(trace.y) == ["0", "8", "16"] and trace.z.shape == (3, 4)


def test_in_a_mixture_the_hover_text_names_expert_and_index():
    after = np.zeros((2, 2000))
    after[1, 1234] = -1.0
    neurons = two_matrices(np.zeros_like(after), after)
    expert = (neurons["neuron"] // 500).astype("Int64")
    trace = traces(neuron_heatmap(neurons.assign(expert=expert)))["after"]
    ((row, column),) = np.argwhere(trace.z)
    assert "neuron 1234: " in hover(trace, row, column)
    assert "expert 2, index 234" in hover(trace, row, column)


def test_a_map_of_a_site_that_was_not_recorded_is_refused():
    neurons = two_matrices([[0.0]], [[0.0]])
    with pytest.raises(ValueError, match=r"No neurons at 'attn.q': the table has .* mlp.post"):
        neuron_heatmap(neurons, site="attn.q")
    with pytest.raises(ValueError, match="before, after, difference"):
        neuron_heatmap(neurons, what=("during",))
    with pytest.raises(ValueError, match="layer 0, neuron 0"):
        neuron_heatmap(pd.concat([neurons, neurons]))
