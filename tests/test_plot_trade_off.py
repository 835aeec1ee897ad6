"""Every run is a point at its retention and recovery."""

import numpy as np
import pandas as pd
import pytest
from attacked_example import NASTY, SHOWN, check_look
from diagnosis_example import note, traces

from neuronscope.plots._look import SERIES, SYMBOLS
from neuronscope.plots.trade_off import trade_off


def run(method, seed, retained, recovery):
    found = {"method": method, "seed": seed}
    for name, share in (("retained", retained), ("recovery", recovery)):
        found |= {name: share, f"{name}_low": share - 0.1, f"{name}_high": share + 0.05}
    return found


RUNS = pd.DataFrame([run("npo", 0, 0.8, 0.6), run("ssiuu", 0, 0.9, 0.2), run("npo", 1, 0.7, 0.5)])


def test_each_run_is_a_point_of_its_method_with_both_intervals():
    drawn = traces(trade_off(RUNS))
    assert list(drawn) == ["npo", "ssiuu"]
    points = drawn["npo"]
    np.testing.assert_allclose(points.x, [0.8, 0.7])
    np.testing.assert_allclose(points.y, [0.6, 0.5])
    for bars in (points.error_x, points.error_y):
        np.testing.assert_allclose(bars.array, [0.05, 0.05])
        np.testing.assert_allclose(bars.arrayminus, [0.1, 0.1])
    np.testing.assert_allclose(points.customdata[1], [1, 0.6, 0.75, 0.4, 0.55])
    assert "seed %{customdata[0]}" in points.hovertemplate


def test_axes_are_named_and_the_better_corner_is_stated():
    figure = trade_off(RUNS)
    assert "kept" in figure.layout.xaxis.title.text
    assert "recovered" in figure.layout.yaxis.title.text
    assert figure.layout.xaxis.tickformat == figure.layout.yaxis.tickformat == ".0%"
    assert note(figure).startswith("3 runs of 2 methods") and "Lower right is better" in note(
        figure
    )
    low, high = figure.layout.xaxis.range
    assert 0.25 < low <= 0.5 and high > 1  # the lowest whisker ends at 0.6


def test_many_methods_are_told_apart():
    names = [f"method {number}" for number in range(2 * len(SERIES))]
    figure = trade_off(pd.DataFrame([run(name, 0, 0.5, 0.5) for name in names]))
    looks = {(trace.marker.color, trace.marker.symbol) for trace in figure.data}
    assert len(looks) == len(names)
    assert len(SYMBOLS) == len(set(SYMBOLS)) == len(SERIES) + 1


def test_a_run_without_an_interval_is_still_drawn():
    bare = RUNS.assign(retained_low=np.nan, retained_high=np.nan)
    np.testing.assert_allclose(traces(trade_off(bare))["ssiuu"].x, [0.9])


def test_names_are_escaped():
    figure = trade_off(RUNS.assign(method=NASTY))
    check_look(figure)
    assert list(traces(figure)) == [SHOWN]
    assert figure.data[0].hovertemplate.endswith("<extra>%{fullData.name}</extra>")


def test_incomplete_tables_are_refused():
    with pytest.raises(ValueError, match="it lacks seed, recovery_low"):
        trade_off(RUNS.drop(columns=["seed", "recovery_low"]))
    with pytest.raises(ValueError, match="no rows"):
        trade_off(RUNS.head(0))
