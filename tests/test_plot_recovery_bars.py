"""The bars show the maxima of the recovery table, with controls."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from attacked_example import NASTY, SHOWN, attack_table, check_look, study
from diagnosis_example import note

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._recovery import recovery
from neuronscope.plots import _look
from neuronscope.plots.recovery_bars import recovery_bars

MAXIMA = [6, 8, 1]
"""Facts answered by the attacked checkpoint, original and never_knew, out of eight."""


def bars(figure):
    return [trace for trace in figure.data if isinstance(trace, go.Bar)]


def counts(figure):
    return [trace.text for trace in figure.data if trace.textposition == "middle right"]


def test_bars_and_whiskers_end_at_the_maxima_and_their_intervals():
    (bar,) = bars(recovery_bars(recovery(attack_table())))
    assert bar.text == ("attacked checkpoint", "original", "never_knew")
    np.testing.assert_allclose(bar.x, [k / 8 for k in MAXIMA])
    intervals = np.array([wilson_interval(k, 8) for k in MAXIMA])
    np.testing.assert_allclose(bar.x - bar.error_x.arrayminus, intervals[:, 0])
    np.testing.assert_allclose(bar.x + bar.error_x.array, intervals[:, 1])


def test_counts_are_next_to_the_bars_and_in_the_hover_texts():
    figure = recovery_bars(recovery(attack_table()))
    assert counts(figure) == [("6/8", "8/8", "1/8")]
    (bar,) = bars(figure)
    assert list(bar.customdata[0][:2]) == [6, 8] and bar.customdata[0][4] == 0
    table = recovery(attack_table())
    reading = table.loc[table["split"] == "rest", "reading"].iloc[0]
    assert bar.customdata[0][5].replace("<br>", " ").strip() == reading


def test_the_level_before_the_attack_is_marked_on_each_bar():
    table = attack_table(attacked_checkpoint_rest=[2, 4, 6])
    figure = recovery_bars(recovery(table))
    (mark,) = [trace for trace in figure.data if trace.name == "before the attack"]
    np.testing.assert_allclose(mark.x, [2 / 8, 1, 0])
    assert list(mark.y) == list(bars(figure)[0].y)


def test_controls_are_hollow():
    figure = recovery_bars(recovery(attack_table()))
    (bar,) = bars(figure)
    assert bar.marker.color == (_look.ERASED, _look.PAPER, _look.PAPER)
    assert bar.marker.line.color == (_look.ERASED, _look.INK, _look.ELSEWHERE)
    assert any(trace.name == "control" for trace in figure.data)
    alone = recovery(attack_table())
    alone = alone[alone["model"] == "attacked checkpoint"]
    assert not any(trace.name == "control" for trace in recovery_bars(alone).data)


def test_an_attack_that_did_not_learn_all_its_facts_has_a_star():
    weak = attack_table(attacked_checkpoint_attacked=[0, 1, 1])
    figure = recovery_bars(recovery(weak))
    assert counts(figure) == [("6/8 *", "8/8", "1/8")]
    assert "*: " in note(figure)
    assert "*" not in note(recovery_bars(recovery(attack_table())))
    noise = weak[weak["split"] != "attacked"]
    assert counts(recovery_bars(recovery(noise))) == [("6/8", "8/8", "1/8")]


def test_each_attack_has_a_panel_and_each_method_a_row_in_it():
    strong = pd.concat([attack_table(), attack_table(attack="relearn_benign", variant="")])
    weak = attack_table(attacked_checkpoint_rest=[0, 1, 1])
    figure = recovery_bars(study(recovery, npo=strong, ssiuu=weak))
    titles = [mark.text for mark in figure.layout.annotations]
    assert titles == ["relearn forget (2 of 10 facts)", "relearn benign"]
    first, second = bars(figure)
    # Only one method was attacked the second way.
    assert first.text == ("npo", "ssiuu", "original", "never_knew")
    assert second.text == ("npo", "original", "never_knew")
    np.testing.assert_allclose(first.x[:2], [6 / 8, 1 / 8])
    assert first.marker.color[0] == second.marker.color[0] != first.marker.color[1]
    assert figure.layout.yaxis.ticktext == first.text
    low, high = figure.layout.yaxis.range
    assert low > high  # the first is on top


def test_names_are_escaped():
    figure = recovery_bars(study(recovery, **{NASTY: attack_table()}))
    check_look(figure)
    assert bars(figure)[0].text[0] == SHOWN
    assert figure.layout.yaxis.ticktext[0].replace("<br>", "").startswith("&lt;script&gt;alert(")


def test_incomplete_tables_are_refused():
    table = recovery(attack_table())
    with pytest.raises(ValueError, match="it lacks maximum_low"):
        recovery_bars(table.drop(columns="maximum_low"))
    with pytest.raises(ValueError, match="rows of split 'rest'"):
        recovery_bars(table[table["split"] == "retain"])
    with pytest.raises(ValueError, match="two for 'attacked checkpoint'"):
        recovery_bars(pd.concat([table, table]))
