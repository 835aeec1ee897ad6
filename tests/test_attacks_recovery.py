"""`recovery` and `curves` on tables whose results were computed by hand."""

import numpy as np
import pandas as pd
import pytest

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._recovery import FAILED, by_learning_rate, curves, placed, recovery


def rows(counts, n, model="attacked checkpoint", split="rest", **changes):
    """The evaluations of one run, at steps 0, 1, 2 ..."""
    plain = {"attack": "relearn_forget", "variant": "", "lr": 0.5, "seed": 0, "fold": 0}
    here = pd.DataFrame(plain | {"model": model, "split": split} | changes, index=[0])
    here = here.loc[[0] * len(counts)].reset_index(drop=True)
    step = range(len(counts))
    budget = [k * (1.0 if np.isnan(v) else v) for k, v in zip(step, here["lr"], strict=True)]
    return here.assign(step=step, budget=budget, correct=counts, n=n, score=0.0, note="")


def one(found, **where):
    for name, value in where.items():
        found = found.loc[found[name] == value]
    assert len(found) == 1
    return found.iloc[0]


def rest_of(*tables, model="attacked checkpoint"):
    return one(recovery(pd.concat(tables)), model=model, split="rest")


def test_an_attack_that_did_not_learn_has_failed_and_shows_nothing_else():
    failed = rest_of(rows([0, 1, 1], 2, split="attacked"), rows([1, 1, 0], 8))
    assert failed["reading"].startswith(FAILED) and "1 of 2" in failed["reading"]
    assert failed["learnt"] is False or not failed["learnt"]
    held = rest_of(rows([0, 1, 2], 2, split="attacked"), rows([1, 1, 0], 8))
    assert held["learnt"] and held["reading"].startswith("no answer was recovered")
    partly = rest_of(rows([0, 1, 1], 2, split="attacked"), rows([1, 3, 0], 8))
    assert "failed" not in partly["reading"] and "longer attack" in partly["reading"]
    for found in (failed, held, partly):
        assert "robust" not in found["reading"]


def test_unrelated_instructions_are_learned_if_their_log_odds_rise():
    taught = rows([0, 20, 55], 60, attack="relearn_benign", split="attacked")
    nothing = rows([0, 0, 0], 8, attack="relearn_benign")
    risen = rest_of(taught.assign(score=[-2.0, 0.5, 1.5]), nothing)
    assert risen["learnt"] and FAILED not in risen["reading"]
    fallen = rest_of(taught.assign(score=[-2.0, -2.5, -3.0]), nothing)
    assert not fallen["learnt"]
    assert FAILED in fallen["reading"] and fallen["reading"].count("-2.00") == 2


def test_repeated_notes_appear_once():
    table = rows([0, 1, 2], 8).assign(note=["Rounded.", "Rounded.", "Left out."])
    assert rest_of(table)["note"] == "Rounded. Left out."


def test_an_attack_without_training_is_neither_learned_nor_failed():
    found = rest_of(rows([0, 0], 8, lr=float("nan")))
    assert found["learnt"] is None and np.isnan(found["attacked_n"])
    assert "failed" not in found["reading"]


def test_seeds_are_averaged_and_do_not_narrow_the_interval():
    found = rest_of(rows([0, 2, 1], 8), rows([0, 4, 4], 8, seed=1))
    assert (found["seeds"], found["n"], found["maximum_correct"]) == (2, 8, 3)
    assert (found["maximum_low"], found["maximum_high"]) == wilson_interval(3, 8)


def test_parts_add_up_before_the_maximum_is_taken():
    # The parts have their maxima at different steps: 4 + 0 and 0 + 3, but never 4 + 3.
    found = rest_of(rows([0, 4, 0], 4), rows([0, 0, 3], 4, fold=1))
    assert (found["maximum_correct"], found["n"], found["seeds"]) == (4, 8, 1)


def test_evaluations_that_not_all_parts_reached_do_not_count():
    found = rest_of(rows([0, 1], 4), rows([0, 1, 4], 4, fold=1))
    assert (found["maximum_correct"], found["n"]) == (2, 8)


def test_the_maximum_is_over_rates_and_the_end_is_that_of_the_largest_budget():
    found = rest_of(rows([0, 5, 1], 8, lr=0.1), rows([0, 3, 2], 8, lr=1.0))
    assert (found["maximum_correct"], found["final_correct"]) == (5, 2)
    assert found["maximum_budget"] == pytest.approx(0.1)
    # (0 + 5)/2 + (5 + 1)/2 and (0 + 3)/2 + (3 + 2)/2, of 8, over two steps each.
    assert found["area"] == pytest.approx((5.5 + 4.0) / 2 / 8 / 2)


def test_curves_give_every_budget_its_mean():
    table = pd.concat([rows([0, 2], 8), rows([0, 4], 8, seed=1), rows([1, 1], 8, lr=2.0)])
    found = curves(table)
    row = one(found, lr=0.5, step=1)
    assert (row["budget"], row["correct"], row["share"], row["seeds"]) == (0.5, 3, 3 / 8, 2)
    assert len(found) == 4


def test_each_learning_rate_has_its_own_maximum():
    table = pd.concat([rows([1, 5, 1], 8, lr=0.1), rows([1, 3, 2], 8, lr=1.0)])
    found = by_learning_rate(table)
    assert len(found) == 2
    for lr, most, last, budget in ((0.1, 5, 1, 0.1), (1.0, 3, 2, 1.0)):
        here = one(found, lr=lr)
        assert (here["maximum_correct"], here["final_correct"]) == (most, last)
        assert here["maximum_budget"] == pytest.approx(budget)
        assert (here["before_correct"], here["n"], here["seeds"]) == (1, 8, 1)
        assert (here["maximum_low"], here["maximum_high"]) == wilson_interval(most, 8)
    # With one seed, the maximum over the grid is the largest of the rates'.
    assert found["maximum"].max() == rest_of(table)["maximum"]
    assert found["area"].mean() == pytest.approx(rest_of(table)["area"])


def test_seeds_are_averaged_separately_at_each_rate():
    low = [rows([0, 4], 8, lr=0.1), rows([0, 0], 8, lr=0.1, seed=1)]
    high = [rows([0, 0], 8, lr=1.0), rows([0, 4], 8, lr=1.0, seed=1)]
    table = pd.concat([*low, *high])
    assert by_learning_rate(table)["maximum_correct"].tolist() == [2, 2]
    # The seeds have their maxima at different rates, so that the grid's maximum is above both.
    assert rest_of(table)["maximum_correct"] == 4


def test_attacks_without_a_learning_rate_have_one_row():
    found = by_learning_rate(rows([0, 3], 8, lr=float("nan")))
    assert len(found) == 1 and np.isnan(found["lr"].iloc[0])
    with pytest.raises(ValueError, match="lacks lr"):
        by_learning_rate(rows([0], 8).drop(columns="lr"))


def test_a_position_between_controls_needs_both_controls_and_a_difference_between_them():
    assert placed(0.5, 1.0, 0.25) == (pytest.approx(1 / 3), "")
    assert placed(0.25, 1.0, 0.25)[0] == 0 and placed(1.0, 1.0, 0.25)[0] == 1
    for original, never, reason in (
        (float("nan"), 0.2, "original"),
        (1.0, float("nan"), "never_knew"),
        (0.4, 0.4, "no more"),
    ):
        place, why = placed(0.5, original, never)
        assert np.isnan(place) and reason in why


def test_controls_have_positions_0_and_1():
    table = pd.concat([rows([0, 4], 8), rows([8, 8], 8, "original"), rows([0, 1], 8, "never_knew")])
    places = recovery(table).set_index("model")["recovered"]
    assert (places["original"], places["never_knew"]) == (1, 0)
    assert places["attacked checkpoint"] == pytest.approx((4 - 1) / (8 - 1))
    (kept,) = recovery(table.assign(split="retain").head(2)).to_dict("records")
    assert np.isnan(kept["recovered"]) and "'retain'" in kept["reason"]


def test_other_tables_are_refused():
    with pytest.raises(ValueError, match="lacks budget"):
        recovery(rows([0], 8).drop(columns="budget"))
    with pytest.raises(ValueError, match="it is empty"):
        curves(rows([0], 8).head(0))
