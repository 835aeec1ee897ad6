"""The figure shows exactly the values of its tables."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from diagnosis_example import note, traces

from neuronscope.plots import _look
from neuronscope.plots._look import DARK, untitled
from neuronscope.plots.low_rank_restoration import NOTHING, low_rank_restoration

RANKS = (0, 1, 4, 576)
FORGOTTEN = "forgotten facts"
RANDOM = "forgotten facts, random directions (best of 2)"
RETAINED = "retain, answered before"


def rows(column, values, split, answered, total, control=-1):
    share = np.array(answered) / total
    return pd.DataFrame(
        {
            "control": control,
            column: values,
            "split": split,
            "target": -1.0,
            "answered": answered,
            "total": total,
            "share": share,
            "share_low": share / 2,
            "share_high": (1 + share) / 2,
        }
    )


@pytest.fixture
def ranks():
    return pd.concat(
        [
            rows("rank", RANKS, "forget", [0, 3, 16, 16], 16),
            rows("rank", RANKS, "retain", [7, 8, 8, 8], 8),
            rows("rank", (1, 4), "forget", [0, 2], 16, control=0),
            rows("rank", (1, 4), "forget", [1, 0], 16, control=1),
            rows("rank", (1, 4), "retain", [8, 8], 8, control=0),
        ],
        ignore_index=True,
    )


@pytest.fixture
def interpolation():
    return pd.concat(
        [
            rows("alpha", (0.0, 0.5, 1.0), "forget", [0, 8, 16], 16),
            rows("alpha", (0.0, 0.5, 1.0), "retain", [7, 7, 8], 8),
        ]
    )


def lines(figure, name):
    """The lines of one name: against rank, and against α."""
    return [trace for trace in figure.data if trace.name == name]


def test_each_split_is_drawn_against_rank_and_against_alpha(ranks, interpolation):
    figure = low_rank_restoration(ranks, interpolation)
    for name, by_rank, by_alpha in (
        (FORGOTTEN, [0, 3 / 16, 1, 1], [0, 0.5, 1]),
        (RETAINED, [7 / 8, 1, 1, 1], [7 / 8, 7 / 8, 1]),
    ):
        top, below = lines(figure, name)
        np.testing.assert_array_equal(top.y, by_rank)
        np.testing.assert_array_equal(top.x, [NOTHING, 1, 4, 576])
        np.testing.assert_array_equal(below.y, by_alpha)
        np.testing.assert_array_equal(below.x, [0, 0.5, 1])
        assert (top.yaxis, below.yaxis) == ("y", "y2")
        np.testing.assert_array_equal([row[0] for row in top.customdata], RANKS)


def test_the_best_random_directions_are_drawn_for_forgotten_facts_only(ranks, interpolation):
    (drawn,) = lines(low_rank_restoration(ranks, interpolation), RANDOM)
    np.testing.assert_array_equal(drawn.y, [1 / 16, 2 / 16])
    itself = ranks[ranks["control"] == -1]
    assert not any("random" in t.name for t in low_rank_restoration(itself, interpolation).data)


def test_the_band_runs_from_the_lower_to_the_upper_ends_of_the_intervals(ranks, interpolation):
    band, _ = lines(low_rank_restoration(ranks, interpolation), f"{FORGOTTEN}, 95 % interval")
    own = ranks[(ranks["control"] == -1) & (ranks["split"] == "forget")]
    np.testing.assert_array_equal(band.y[:4], own["share_high"])
    np.testing.assert_array_equal(band.y[:3:-1], own["share_low"])
    assert list(band.x) == [NOTHING, 1, 4, 576, 576, 4, 1, NOTHING]


def test_rank_zero_is_on_the_logarithmic_axis_and_the_last_rank_is_all(ranks, interpolation):
    figure = low_rank_restoration(ranks, interpolation)
    axis = figure.layout.xaxis
    assert axis.type == "log"
    assert dict(zip(axis.tickvals, axis.ticktext, strict=True)) == {
        NOTHING: "0", 1: "1", 4: "4", 576: "all (576)",
    }  # fmt: skip
    assert "16 forgotten" in note(figure)


def test_without_other_splits_only_forgotten_facts_are_drawn(ranks, interpolation):
    figure = low_rank_restoration(
        *(table[table["split"] == "forget"] for table in (ranks, interpolation))
    )
    assert {name.split(",")[0] for name in traces(figure)} == {FORGOTTEN}


def test_every_colour_has_a_dark_counterpart_or_a_fixed_meaning(ranks, interpolation):
    figure = low_rank_restoration(ranks, interpolation)
    meaning = {getattr(_look, name) for name in ("ERASED", "HIDDEN", "REMAINDER", "BEFORE")}
    drawn = json.dumps(untitled(figure)[2], default=str)
    assert set(re.findall(r'"(#[0-9a-f]{6})"', drawn)) - meaning <= set(DARK)
