"""The curve of the weight restoration shows the values of its table."""

import json

import numpy as np
import pandas as pd
import pytest
from diagnosis_example import note

from neuronscope.plots._look import TEMPLATE
from neuronscope.plots.weight_restoration_curve import LINES, weight_restoration_curve

SIZES = np.array([10, 100, 1000])


def rows(ranking, control, recovered, answered):
    recovered = np.asarray(recovered, dtype=float)
    columns = {"ranking": ranking, "control": control, "size": SIZES, "recovered": recovered}
    columns |= {"low": recovered - 0.1, "high": recovered + 0.1, "answered": answered, "total": 16}
    return pd.DataFrame(columns)


@pytest.fixture
def curves():
    return pd.concat(
        [
            rows("weight path", -1, [1.0, 1.5, 2.0], [3, 8, 12]),
            rows("weight path", 0, [0.0, 0.1, 2.0], [0, 1, 12]),
            rows("weight path", 1, [0.2, 0.3, 2.0], [0, 3, 12]),
            rows("D⁻", -1, [0.1, 0.2, 2.0], [0, 1, 12]),
            rows("D⁻", 0, [9.0, 9.0, 2.0], [9, 9, 12]),
        ],
        ignore_index=True,
    )


def drawn(figure, name):
    """The traces of this name in the upper and in the lower panel."""
    found = {trace.yaxis: trace for trace in figure.data if trace.name == name}
    return found["y"], found["y2"]


def test_each_ranking_has_a_line_of_its_target_and_one_of_its_answers(curves):
    figure = weight_restoration_curve(curves)
    for name, target, answers in (
        ("weight path", [1.0, 1.5, 2.0], [3, 8, 12]),
        ("D⁻", [0.1, 0.2, 2.0], [0, 1, 12]),
    ):
        upper, lower = drawn(figure, name)
        np.testing.assert_array_equal(upper.x, SIZES)
        np.testing.assert_allclose(upper.y, target)
        np.testing.assert_array_equal(lower.y, answers)
        # Hovering over either panel gives both numbers.
        np.testing.assert_allclose(np.array(lower.customdata)[:, 4], target)
    assert figure.layout.xaxis.type == figure.layout.xaxis2.type == "log"


def test_bands_end_at_the_intervals(curves):
    (band,) = (
        t for t in weight_restoration_curve(curves).data if t.name == "weight path, 95 % interval"
    )
    np.testing.assert_allclose(band.y, [1.1, 1.6, 2.1, 1.9, 1.4, 0.9])
    np.testing.assert_array_equal(band.x, [10, 100, 1000, 1000, 100, 10])


def test_random_neurons_matched_to_the_first_ranking_are_grey(curves):
    figure = weight_restoration_curve(curves)
    upper, lower = drawn(figure, "random")
    np.testing.assert_allclose(upper.y, [0.1, 0.2, 2.0])
    np.testing.assert_allclose(upper.customdata, [[-0.1, 0.3], [0.0, 0.4], [1.9, 2.1]])
    np.testing.assert_allclose(lower.y, [0, 2, 12])
    np.testing.assert_allclose(lower.customdata, [[0, 0], [1, 3], [12, 12]])
    assert "2 draws" in note(figure)


def test_without_draws_random_neurons_are_not_mentioned(curves):
    figure = weight_restoration_curve(curves[curves["control"] == -1])
    assert "Grey" not in note(figure)
    assert not any(trace.name == "random" for trace in figure.data)


def test_rankings_look_different_and_keep_the_tables_order(curves):
    many = [rows(f"ranking {i}", -1, [0.0, 1.0, 2.0], [0, 1, 2]) for i in range(len(LINES) + 1)]
    figure = weight_restoration_curve(pd.concat(many, ignore_index=True))
    shown = [trace for trace in figure.data if trace.showlegend is not False]
    assert [trace.name for trace in reversed(shown)] == [f"ranking {i}" for i in range(len(many))]
    looks = {(t.line.color, t.line.dash, t.marker.symbol) for t in shown}
    assert len(looks) == len(many)


def test_the_figure_names_the_intervention_and_the_unit(curves):
    figure = weight_restoration_curve(curves, "nats per token", changed="silenced")
    assert figure.layout.xaxis2.title.text == "number of neurons silenced"
    assert figure.layout.yaxis.title.text == "target recovered (nats per token)"
    assert "16 forgotten facts" in note(figure) and "1,000 neurons silenced" in note(figure)
    assert figure.layout.template == TEMPLATE and figure.layout.width is None
    assert json.loads(figure.to_json())["data"]
