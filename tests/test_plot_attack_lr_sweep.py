"""The sweep over learning rates draws the maximum at each rate."""

import numpy as np
import pandas as pd
import pytest
from attacked_example import NASTY, SHOWN, attack_table, check_look, study

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._recovery import by_learning_rate
from neuronscope.plots.attack_lr_sweep import attack_lr_sweep

SLOW = attack_table(lrs=(1e-6,), attacked_checkpoint_rest=[0, 1, 2])
BOTH = pd.concat([attack_table(), SLOW], ignore_index=True)
"""Of eight facts, six are answered at the higher rate and two at the lower, which comes last."""


def drawn(figure, name, axis="y"):
    (trace,) = [t for t in figure.data if t.name == name and t.yaxis == axis]
    return trace


def test_each_rate_has_its_maximum_and_its_interval():
    figure = attack_lr_sweep(by_learning_rate(BOTH))
    line, band = (drawn(figure, f"attacked checkpoint{end}") for end in ("", ", 95 % interval"))
    np.testing.assert_array_equal(line.x, [1e-6, 1e-5])
    np.testing.assert_allclose(line.y, [2 / 8, 6 / 8])
    lows, highs = zip(*(wilson_interval(k, 8) for k in (2, 6)), strict=True)
    np.testing.assert_allclose(band.y, [*highs, *lows[::-1]])
    np.testing.assert_allclose(line.customdata[0], [1e-6, 2, 8, lows[0], highs[0], 0])
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.ticktext) == ["10<sup>−6</sup>", "10<sup>−5</sup>"]


def test_controls_are_thinner_lines_without_a_band():
    figure = attack_lr_sweep(by_learning_rate(BOTH))
    np.testing.assert_allclose(drawn(figure, "never_knew").y, [1 / 8, 1 / 8])
    np.testing.assert_allclose(drawn(figure, "original").y, [1, 1])
    assert drawn(figure, "original").line.width < drawn(figure, "attacked checkpoint").line.width
    assert sum("95 % interval" in trace.name for trace in figure.data) == 1


def test_a_line_per_method_a_panel_per_attack_and_each_name_once():
    benign = attack_table(attack="relearn_benign", variant="", lrs=(1e-7,))
    table = study(by_learning_rate, npo=BOTH, ssiuu=pd.concat([SLOW, benign]))
    figure = attack_lr_sweep(table)
    titles = [mark.text for mark in figure.layout.annotations]
    assert titles == ["relearn forget (2 of 10 facts)", "relearn benign"]
    assert {t.name for t in figure.data if t.yaxis == "y2" and t.mode == "lines+markers"} == {
        "ssiuu",
        "original",
        "never_knew",
    }
    np.testing.assert_array_equal(drawn(figure, "ssiuu", "y2").x, [1e-7])
    named = [trace.name for trace in figure.data if trace.showlegend]
    assert len(named) == len(set(named)) == 4
    for axis in ("y", "y2"):
        assert drawn(figure, "ssiuu", axis).line.color != drawn(figure, "npo").line.color


def test_names_are_escaped():
    figure = attack_lr_sweep(study(by_learning_rate, **{NASTY: BOTH}))
    check_look(figure)
    assert drawn(figure, SHOWN).hovertemplate.endswith("<extra>%{fullData.name}</extra>")


def test_incomplete_tables_are_refused():
    table = by_learning_rate(BOTH)
    with pytest.raises(ValueError, match="it lacks lr"):
        attack_lr_sweep(table.drop(columns="lr"))
    with pytest.raises(ValueError, match="no row has a learning rate"):
        attack_lr_sweep(table.assign(lr=np.nan))
    with pytest.raises(ValueError, match="two for 'attacked checkpoint'"):
        attack_lr_sweep(pd.concat([table, table]))
