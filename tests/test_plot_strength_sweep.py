"""The sweep over strengths shows recovery and retention at each."""

import numpy as np
import pandas as pd
import pytest
from attacked_example import NASTY, SHOWN, check_look
from diagnosis_example import traces

from neuronscope.plots._log_axis import ZERO
from neuronscope.plots.strength_sweep import RELATIVE, STRENGTH, strength_sweep


def run(strength, recovery, retained, **more):
    found = {"strength": strength} | more
    for name, share in (("retained", retained), ("recovery", recovery)):
        found |= {name: share, f"{name}_low": share - 0.1, f"{name}_high": share + 0.05}
    return found


RUNS = pd.DataFrame([run(0.0, 0.9, 0.95), run(1e-4, 0.8, 0.9), run(1e-2, 0.3, 0.5)])
PLACES = [1e-4 / ZERO, 1e-4, 1e-2]


def test_recovery_is_above_retention_at_the_same_strengths():
    figure = strength_sweep(RUNS)
    drawn = traces(figure)
    for name, axis, shares in (
        ("attack", "y", [0.9, 0.8, 0.3]),
        ("retention", "y2", [0.95, 0.9, 0.5]),
    ):
        marks, line = drawn[name], drawn[f"{name}, mean"]
        assert marks.yaxis == line.yaxis == axis
        np.testing.assert_allclose(marks.x, PLACES)
        np.testing.assert_allclose(marks.y, shares)
        np.testing.assert_allclose(line.y, shares)
        np.testing.assert_allclose(marks.error_y.array, [0.05] * 3)
        np.testing.assert_allclose(marks.error_y.arrayminus, [0.1] * 3)
        np.testing.assert_allclose(marks.customdata[:, 0], [0, 1e-4, 1e-2])


def test_the_logarithmic_axis_includes_no_regularizer():
    figure = strength_sweep(RUNS)
    for axis in (figure.layout.xaxis, figure.layout.xaxis2):
        assert axis.type == "log"
        np.testing.assert_allclose(axis.tickvals, PLACES)
        assert list(axis.ticktext) == ["0", "10<sup>−4</sup>", "0.01"]
    assert figure.layout.xaxis2.title.text == STRENGTH
    assert strength_sweep(RUNS, relative=True).layout.xaxis2.title.text == RELATIVE


def test_lines_join_the_means_where_a_strength_has_several_runs():
    more = pd.concat([RUNS, pd.DataFrame([run(1e-2, 0.5, 0.7)])], ignore_index=True)
    drawn = traces(strength_sweep(more))
    assert len(drawn["attack"].x) == 4
    np.testing.assert_allclose(drawn["attack, mean"].y, [0.9, 0.8, 0.4])
    np.testing.assert_allclose(drawn["retention, mean"].y, [0.95, 0.9, 0.6])


def test_each_attack_has_a_line_and_retention_is_drawn_once():
    both = pd.concat([RUNS.assign(attack="benign"), RUNS.assign(attack=NASTY, recovery=0.1)])
    figure = strength_sweep(both)
    drawn = traces(figure)
    np.testing.assert_allclose(drawn["benign"].y, [0.9, 0.8, 0.3])
    np.testing.assert_allclose(drawn[SHOWN].y, [0.1, 0.1, 0.1])
    assert drawn["benign"].marker.color != drawn[SHOWN].marker.color
    np.testing.assert_allclose(drawn["retention"].y, [0.95, 0.9, 0.5])
    check_look(figure)


def test_incomplete_tables_are_refused():
    with pytest.raises(ValueError, match="it lacks retained_high"):
        strength_sweep(RUNS.drop(columns="retained_high"))
    with pytest.raises(ValueError, match="0 or more, got -1"):
        strength_sweep(RUNS.assign(strength=[0, -1, 1]))
