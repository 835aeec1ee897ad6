"""Influence after unlearning and after the attack: every neuron, and the correlations."""

import numpy as np
import pytest
from attacked_example import check_look
from diagnosis_example import neuron_table, note, traces, two_matrices
from synthetic_recordings import make_recording

from neuronscope.analysis.stability import stability
from neuronscope.plots._symlog import from_axis, linear_part
from neuronscope.plots.stability_scatter import DOTS, stability_scatter

BEFORE = [[0.5, -0.2, 0.1, -0.05]]


def test_each_neuron_is_a_dot_at_its_two_influences():
    after = [[0.4, -0.2, 0.3, 0.0]]
    neurons = two_matrices(BEFORE, after)
    dots = traces(stability_scatter(neurons))["neurons"]
    # Neurons that changed most come first.
    np.testing.assert_allclose(
        dots.customdata, [[0.1, 0.3], [0.5, 0.4], [-0.05, 0.0], [-0.2, -0.2]]
    )
    linear = linear_part(neurons[["before", "after"]].to_numpy().ravel())
    np.testing.assert_allclose(from_axis(np.array(dots.x), linear), dots.customdata[:, 0])
    np.testing.assert_allclose(from_axis(np.array(dots.y), linear), dots.customdata[:, 1])
    assert dots.text[0] == "mlp.post, layer 0, neuron 2"


def test_unchanged_neurons_lie_on_the_diagonal_and_correlate_perfectly():
    figure = stability_scatter(two_matrices(BEFORE, BEFORE))
    drawn = traces(figure)
    np.testing.assert_array_equal(drawn["neurons"].x, drawn["neurons"].y)
    assert drawn["unchanged"].x == drawn["unchanged"].y
    assert note(figure).count(" 1.000,") == 2 and "over 4 neurons" in note(figure)


def test_the_correlations_are_those_of_the_recordings():
    draw = np.random.default_rng(0)
    influence = draw.normal(size=(3, 1, 2, 6))
    recordings = [
        make_recording(x) for x in (influence, influence + draw.normal(size=(3, 1, 2, 6)))
    ]
    means = [recording.means("mlp.post", "forget").total for recording in recordings]
    expected = stability(*recordings)
    assert 0 < expected.pearson < 0.99 and expected.pearson != expected.spearman
    subtitle = note(stability_scatter(two_matrices(*means)))
    assert f"Pearson's correlation {expected.pearson:.3f}," in subtitle
    assert f"Spearman's rank correlation {expected.spearman:.3f}, over 12 neurons" in subtitle


def test_of_very_many_neurons_each_is_a_dot_or_counted_in_the_shading():
    neurons = neuron_table(28, {"mlp.post": 2048})
    neurons.loc[7, ["before", "after"]] = [50.0, -80.0]
    figure = stability_scatter(neurons)
    drawn = traces(figure)
    assert len(drawn["largest change"].x) == DOTS
    assert int(drawn["the rest"].customdata.sum()) == len(neurons) - DOTS
    assert f"the {DOTS:,} that changed most; shading: the other 56,344" in note(figure)
    assert drawn["largest change"].text[0] == "mlp.post, layer 0, neuron 7"
    # The axis is logarithmic outside, so that an outlier does not compress the others.
    size = np.abs(np.array(drawn["largest change"].y))
    assert size[0] < 4 * np.median(size)
    check_look(figure)


def test_neurons_that_were_not_measured_are_left_out_and_counted():
    figure = stability_scatter(two_matrices([[0.1, np.nan, 0.3]], [[0.1, 0.2, -0.3]]))
    assert len(traces(figure)["neurons"].x) == 2
    assert "over 2 neurons" in note(figure) and "1 were not measured" in note(figure)


def test_constant_influence_has_no_correlation_and_can_be_drawn():
    figure = stability_scatter(two_matrices([[0.0, 0.0]], [[0.0, 0.0]]))
    assert "Pearson's correlation undefined" in note(figure)


def test_axis_titles_name_unit_and_state():
    layout = stability_scatter(two_matrices(BEFORE, BEFORE), "nats per token").layout
    assert layout.xaxis.title.text == "influence after unlearning (nats per token)"
    assert layout.yaxis.title.text == "influence after the attack (nats per token)"


def test_incomplete_tables_are_refused():
    with pytest.raises(ValueError, match="it lacks before"):
        stability_scatter(two_matrices(BEFORE, BEFORE).drop(columns="before"))
    with pytest.raises(ValueError, match="all of them are NaN"):
        stability_scatter(two_matrices([[np.nan]], [[1.0]]))
