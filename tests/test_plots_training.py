"""The figures of a run show the values of its history."""

import math

import numpy as np
import pandas as pd

from neuronscope.plots.training_terms import training_terms
from neuronscope.plots.unlearning_curve import unlearning_curve

NAN = math.nan
HISTORY = pd.DataFrame(
    {
        "step": [0, 1, 2, 3],
        "loss_forget": [NAN, -1.0, -2.0, -4.0],
        "loss_retain": [NAN, 1.0, 0.5, 0.25],
        "gradient_norm": [NAN, 4.0, 5.0, 6.0],
        "penalty_norm": [NAN, 0.0, 2.0, 3.0],
        "cosine": [NAN, NAN, -0.5, 0.5],
        "asked_forget": [16, NAN, 16, NAN],
        "asked_retain": [8, NAN, 8, NAN],
        "answered_forget": [16, NAN, 4, NAN],
        "answered_forget_rate": [1.0, NAN, 0.25, NAN],
        "answered_retain": [8, NAN, 6, NAN],
        "answered_retain_rate": [1.0, NAN, 0.75, NAN],
        "log_odds_forget": [0.7, NAN, -1.5, NAN],
    }
)


def lines(figure):
    return {(trace.name, trace.yaxis): trace for trace in figure.data}


def test_the_curve_has_one_marker_per_evaluation():
    drawn = lines(unlearning_curve(HISTORY))
    for name, rates in (("forget set", [1, 0.25]), ("retain set", [1, 0.75])):
        assert list(drawn[name, "y"].x) == [0, 2] and list(drawn[name, "y"].y) == rates
    assert list(drawn[None, "y2"].y) == [0.7, -1.5]
    text = unlearning_curve(HISTORY).layout.title.subtitle.text.replace("<br>", " ")
    assert "forget set: 16" in text and "retain set: 8" in text


def test_splits_that_were_not_evaluated_have_no_line():
    bare = HISTORY.drop(columns=["answered_retain", "answered_retain_rate"])
    assert "retain set" not in {trace.name for trace in unlearning_curve(bare).data}


def test_every_term_and_both_gradients_are_drawn():
    drawn = lines(training_terms(HISTORY))
    assert list(drawn["term: forget", "y"].y) == [-1, -2, -4]
    assert list(drawn["term: retain", "y"].y) == [1, 0.5, 0.25]
    assert list(drawn["objective's gradient", "y2"].y) == [4, 5, 6]
    # The penalty is 0 at the first step, which a logarithmic axis cannot show.
    np.testing.assert_array_equal(drawn["penalty's gradient, scaled by λ", "y2"].y, [NAN, 2, 3])
    np.testing.assert_array_equal(drawn["cosine between them", "y3"].y, [NAN, -0.5, 0.5])


def test_without_a_penalty_its_panel_is_missing():
    plain = HISTORY.drop(columns=["penalty_norm", "cosine"])
    assert {trace.yaxis for trace in training_terms(plain).data} == {"y", "y2"}
    none = HISTORY.assign(penalty_norm=0.0)
    assert {trace.yaxis for trace in training_terms(none).data} == {"y", "y2"}
