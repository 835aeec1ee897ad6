"""The recovery curve shows the values of an attack's curves."""

import numpy as np
import pandas as pd
import pytest
from attacked_example import NASTY, SHOWN, attack_table, check_look, study
from diagnosis_example import note

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._recovery import curves
from neuronscope.plots._log_axis import ZERO
from neuronscope.plots.recovery_curve import recovery_curve


def drawn(figure, name, axis="y"):
    (trace,) = [t for t in figure.data if t.name == name and t.yaxis == axis]
    return trace


def test_held_out_facts_have_a_line_over_budgets_and_a_band():
    figure = recovery_curve(curves(attack_table()))
    line, band = (drawn(figure, f"attacked checkpoint{end}") for end in ("", ", 95 % interval"))
    np.testing.assert_allclose(line.y, [0, 4 / 8, 6 / 8])
    np.testing.assert_allclose(line.x, [1e-4 / ZERO, 1e-4, 2e-4])
    lows, highs = zip(*(wilson_interval(k, 8) for k in (0, 4, 6)), strict=True)
    np.testing.assert_allclose(band.y, [*highs, *lows[::-1]])
    np.testing.assert_allclose(line.customdata[2], [20, 2e-4, 6, 8, lows[2], highs[2]])
    assert "%{customdata[2]:.3~g} of %{customdata[3]:.3~g} facts" in line.hovertemplate


def test_the_logarithmic_axis_includes_the_state_before_the_attack():
    axis = recovery_curve(curves(attack_table())).layout.xaxis
    assert axis.type == "log"
    np.testing.assert_allclose(axis.tickvals, [1e-4 / ZERO, 1e-4, 2e-4])
    assert axis.ticktext == ("0", "10<sup>−4</sup>", "2·10<sup>−4</sup>")
    assert axis.title.text == "budget (steps × learning rate)"


def test_training_facts_are_dashed_and_drawn_for_the_attacked_checkpoint_only():
    figure = recovery_curve(curves(attack_table()))
    taught = drawn(figure, "attacked checkpoint, facts the attack trains on")
    np.testing.assert_allclose(taught.y, [0, 0.5, 1])
    assert (taught.line.dash, taught.showlegend) == ("dash", False)
    assert sum("trains on" in trace.name for trace in figure.data) == 2  # and the legend's key
    (key,) = [t for t in figure.data if t.name == "facts the attack trains on"]
    assert list(key.x) == [None] and key.line.dash == "dash"


def test_controls_are_thinner_lines_without_a_band():
    figure = recovery_curve(curves(attack_table()))
    attacked = drawn(figure, "attacked checkpoint")
    for name, shares in (("original", [1, 1, 1]), ("never_knew", [0, 1 / 8, 1 / 8])):
        line = drawn(figure, name)
        np.testing.assert_allclose(line.y, shares)
        assert line.line.width < attacked.line.width and line.line.color != attacked.line.color
        assert not any(trace.name == f"{name}, 95 % interval" for trace in figure.data)
        assert np.isfinite(line.customdata).all()


def test_the_retain_set_is_drawn_on_request():
    table = curves(attack_table())
    name = "attacked checkpoint, retain set"
    assert name not in {trace.name for trace in recovery_curve(table).data}
    kept = drawn(recovery_curve(table, retain=True), name)
    np.testing.assert_allclose(kept.y, [1.0, 0.9, 0.8])
    assert kept.line.dash == "dot" and kept.opacity < 1


def test_each_learning_rate_has_a_panel_and_each_name_one_entry_in_the_legend():
    figure = recovery_curve(curves(attack_table(lrs=(1e-6, 1e-5))))
    titles = [mark.text for mark in figure.layout.annotations]
    assert titles == [
        f"relearn forget (2 of 10 facts), learning rate {r}" for r in ("1e-06", "1e-05")
    ]
    np.testing.assert_allclose(drawn(figure, "original").x[1:], [1e-5, 2e-5])
    np.testing.assert_allclose(drawn(figure, "original", "y2").x[1:], [1e-4, 2e-4])
    # 0 is at the same position in both, so that equal budgets are aligned.
    assert drawn(figure, "original").x[0] == drawn(figure, "original", "y2").x[0]
    assert drawn(figure, "original").x[0] == pytest.approx(1e-5 / ZERO)
    assert figure.layout.xaxis2.matches == "x" and figure.layout.xaxis.matches is None
    named = [trace.name for trace in figure.data if trace.showlegend and trace.yaxis == "y"]
    assert sorted(named) == ["attacked checkpoint", "never_knew", "original"]
    assert not any(t.showlegend for t in figure.data if t.yaxis == "y2")


def test_different_attacks_do_not_share_an_axis():
    noise = attack_table(lrs=(float("nan"),), attack="noise", variant="")
    noise = noise[noise["split"] != "attacked"]
    both = pd.concat([attack_table(), noise], ignore_index=True)
    layout = recovery_curve(curves(both)).layout
    assert layout.xaxis2.matches is None and layout.annotations[1].text == "noise"
    assert layout.xaxis.title.text == "budget (steps × learning rate)"
    assert layout.xaxis2.title.text == "budget (the attack's own unit)"


def test_several_methods_have_a_line_each_and_share_their_controls():
    low = attack_table(attacked_checkpoint_rest=[0, 1, 1])
    figure = recovery_curve(study(curves, npo=attack_table(), ssiuu=low))
    np.testing.assert_allclose(drawn(figure, "npo").y, [0, 4 / 8, 6 / 8])
    np.testing.assert_allclose(drawn(figure, "ssiuu").y, [0, 1 / 8, 1 / 8])
    assert drawn(figure, "npo").line.color != drawn(figure, "ssiuu").line.color
    assert len([t for t in figure.data if t.name == "original"]) == 1
    alone = recovery_curve(curves(attack_table()))
    # With several methods, bands and training facts are fainter.
    for end in (", 95 % interval", ", facts the attack trains on"):
        among = drawn(figure, f"npo{end}").opacity
        assert among < drawn(alone, f"attacked checkpoint{end}").opacity
    ranks = {t.name: t.legendrank for t in figure.data if t.showlegend}
    assert sorted(ranks, key=ranks.get) == ["npo", "ssiuu", "original", "never_knew"]


def test_a_control_that_differs_between_methods_is_named_with_them():
    other = attack_table(never_knew_rest=[0, 3, 3])
    figure = recovery_curve(study(curves, npo=attack_table(), ssiuu=other))
    for method, most in (("npo", 1 / 8), ("ssiuu", 3 / 8)):
        control = drawn(figure, f"never_knew ({method})")
        assert max(control.y) == most
        assert control.line.color == drawn(figure, method).line.color
        assert control.marker.symbol == "x"
    assert len([t for t in figure.data if t.name == "original"]) == 1


def test_further_controls_have_distinct_looks():
    table = attack_table()
    more = table[table["model"] == "never_knew"]
    both = pd.concat([table, more.assign(model="retrained"), more.assign(model="elsewhere")])
    table = curves(both)
    for figure in (recovery_curve(table), recovery_curve(table.assign(method="npo"))):
        lines = [trace for trace in figure.data if trace.showlegend]
        assert len({(trace.line.color, trace.marker.symbol) for trace in lines}) == len(lines) == 5
        assert drawn(figure, "retrained").line.width == drawn(figure, "never_knew").line.width


def test_names_are_escaped():
    figure = recovery_curve(study(curves, **{NASTY: attack_table(variant=NASTY)}))
    check_look(figure)
    assert drawn(figure, SHOWN).hovertemplate.endswith("<extra>%{fullData.name}</extra>")
    # Wrapped, so that it fits a narrow page.
    assert SHOWN in figure.layout.annotations[0].text.replace("<br>", " ")
    assert "Wilson" in note(figure)


def test_incomplete_tables_are_refused():
    table = curves(attack_table())
    with pytest.raises(ValueError, match="it lacks share, high"):
        recovery_curve(table.drop(columns=["share", "high"]))
    with pytest.raises(ValueError, match="no rows"):
        recovery_curve(table.head(0))
    with pytest.raises(ValueError, match=r"split 'rest'.*'attacked'"):
        recovery_curve(table[table["split"] == "attacked"])
    with pytest.raises(ValueError, match=r"two for 'attacked checkpoint'.*step 0"):
        recovery_curve(pd.concat([table, table]))
