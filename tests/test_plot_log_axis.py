"""The logarithmic axis that also shows 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronscope.plots._log_axis import FEW, ZERO, label, place_of_zero, places, ticks


def test_zero_lies_left_of_all_other_values_and_those_do_not_move():
    values = [0.0, 1e-3, 10.0]
    zero = place_of_zero(values)
    assert zero == pytest.approx(1e-3 / ZERO)
    np.testing.assert_array_equal(places(values, zero), [zero, 1e-3, 10.0])


def test_few_values_are_ticks_themselves():
    axis = ticks([5e-6, 0.0, 1e-6, 5e-6], zero=1e-7)
    assert axis["tickvals"] == [1e-7, 1e-6, 5e-6]
    assert axis["ticktext"] == ["0", "10<sup>−6</sup>", "5·10<sup>−6</sup>"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (0.001, "0.001"), (12345.0, "12,345"), (2.5e-7, "2.5·10<sup>−7</sup>")],
)
def test_tick_labels_are_readable(value, expected):
    assert label(value) == expected


@given(st.floats(1e-9, 1e9), st.floats(1.01, 1e9), st.integers(FEW + 1, 40), st.booleans())
def test_many_values_have_few_ticks_between_their_ends(low, span, count, with_zero):
    values = np.geomspace(low, low * span, count)
    zero = place_of_zero(values)
    axis = ticks([0.0] * with_zero + values.tolist(), zero)
    at = np.array(axis["tickvals"])
    assert len(at) == len(axis["ticktext"]) == len(set(axis["ticktext"]))
    assert 1 <= len(at) <= FEW + 1
    assert (np.diff(at) > 0).all() and (at[0] == zero) == with_zero
    assert values[0] <= at[with_zero:].min() and at.max() <= values[-1]


def test_a_single_zero_can_be_drawn():
    assert ticks([0.0], place_of_zero([0.0])) == {"tickvals": [1.0], "ticktext": ["0"]}
