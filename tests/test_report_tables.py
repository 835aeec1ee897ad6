"""Tables of the causal views, and estimates on a common scale."""

import dataclasses
import math

import numpy as np
import pytest
from diagnosis_example import FORGET, INHIBITOR
from findings_example import causal_diagnosis, changed
from hypothesis import given
from hypothesis import strategies as st
from test_report import text_of

from neuronscope.report.cause_tables import (
    TOP_DIRECTIONS,
    completeness,
    directions,
    methods,
    minimal_layers,
    minimal_set,
    parts,
    relearned,
    scores,
    silenced,
)
from neuronscope.report.estimates import counted, estimate, on_scale
from neuronscope.report.page import render_report


@pytest.fixture(scope="module")
def diagnosis():
    return causal_diagnosis()


def test_causal_scores_carry_their_intervals_and_say_whether_they_beat_random(diagnosis):
    best, worst = scores(diagnosis.finding("weight_restoration"))
    assert (best.name, best.text, best.note) == ("weight path", "0.700 [0.500, 0.900]", "yes")
    assert (worst.name, worst.text, worst.note) == ("D⁻", "−0.0500 [−0.200, 0.100]", "no")
    # One scale from −0.2 to 0.9 for both.
    assert worst.track["low"] == 0 and best.track["high"] == pytest.approx(100)
    assert best.track["zero"] == worst.track["zero"] == pytest.approx(100 * 0.2 / 1.1)


def test_a_ranking_with_two_spellings_is_shown_once(diagnosis):
    twice = changed(
        diagnosis.finding("weight_restoration"), "scores", ranking=["weight_path", "weight path"]
    )
    assert [row.name for row in scores(twice)] == ["weight path"]


def test_the_smallest_set_is_listed_with_its_random_control(diagnosis):
    chosen, random = minimal_set(diagnosis.finding("weight_restoration"))
    assert (chosen.text, random.text) == (f"8 of {FORGET}", f"1 of {FORGET}")
    assert chosen.track["at"] == 50 and random.track["at"] == 6.25
    assert minimal_layers(diagnosis.finding("weight_restoration")) == {INHIBITOR[0]: 1}
    none = {name: None for name in diagnosis.finding("weight_restoration").figures}
    assert (
        minimal_set(dataclasses.replace(diagnosis.finding("weight_restoration"), figures=none))
        == ()
    )


def test_only_neurons_selected_on_other_facts_are_shown_as_ablated(diagnosis):
    rows = silenced(diagnosis.finding("silencing"))
    assert [(row.name, row.text, row.note) for row in rows] == [
        ("1", "3 of 16", "at most 0"),
        ("3", "5 of 16", "at most 1"),
        ("10", "2 of 16", "at most 1"),
    ]


def test_relearned_answers_are_listed_with_wrong_answers_at_the_same_distance(diagnosis):
    rows = relearned(diagnosis.finding("relearning_probe"))
    assert [(row.text, row.note) for row in rows] == [
        ("0 of 16", "0\xa0%"),
        ("6 of 16", "0\xa0%"),
        ("13 of 16", "19\xa0%"),  # three of sixteen, the mean of two placebos
    ]


def test_the_page_compares_the_weight_path_with_the_measured_drop(diagnosis):
    path = diagnosis.finding("weight_path")
    found = completeness(path)
    assert found["missing"] == 1e-9 and found["nodes"] == 8
    assert found["drop"] - found["total"] == pytest.approx(1e-9, rel=1e-3)
    assert "5.00·10⁻⁸ % of the drop, with 8 nodes" in text_of(render_report(diagnosis))
    flat = dataclasses.replace(path, figures=dict(path.figures) | {"drop": 0.0})
    findings = tuple(flat if one is path else one for one in diagnosis.findings)
    text = text_of(render_report(dataclasses.replace(diagnosis, findings=findings)))
    assert "drop is 0 nats. The difference is 1.00·10⁻⁹ nats, with 8 nodes" in text


def test_directions_are_cut_and_name_an_expert_only_where_there_is_one():
    low_rank_restoration = causal_diagnosis(layers=TOP_DIRECTIONS + 5).finding(
        "low_rank_restoration"
    )
    table = directions(low_rank_restoration)
    assert (len(table.rows), table.total) == (TOP_DIRECTIONS, TOP_DIRECTIONS + 5)
    assert "expert" not in table.header
    first = dict(zip(table.header, table.rows[0], strict=True))
    assert (first["share"].text, first["share"].key) == ("40\xa0%", 0.4)
    assert first["promoted"].text == "' Paris', ' Rome'"
    mixture = directions(changed(low_rank_restoration, "directions", expert=3))
    assert mixture.rows[0][mixture.header.index("expert")].text == "3"


def test_methods_are_ordered_by_how_well_they_rank(diagnosis):
    rows = methods(diagnosis.finding("exactness"))
    assert [row.name for row in rows] == ["conductance", "gradient x activation"]
    assert rows[0].track["at"] == pytest.approx(91) and rows[0].note == "300"


def test_parts_restored_alone_are_counted_on_the_forgotten_facts(diagnosis):
    rows = {row.name: row.text for row in parts(diagnosis.finding("low_rank_restoration"))}
    assert rows["mlp.down"] == "4 of 16" and rows["layers 0 to 1"] == "16 of 16"


@given(
    st.lists(
        st.tuples(st.floats(-5, 5), st.floats(0, 3), st.floats(0, 3), st.floats(0, 1)),
        min_size=1,
        max_size=6,
    )
)
def test_on_a_common_scale_places_keep_their_order_and_stay_on_it(rows):
    estimates = [
        estimate(str(n), value, (value - below, value + above), chance=chance)
        for n, (value, below, above, chance) in enumerate(rows)
    ]
    for row in on_scale(estimates):
        track = row.track
        places = [track["low"], track["at"], track["high"]]
        assert np.all(np.diff([-1e-9, *places, 100 + 1e-9]) >= -1e-9)
        assert track["zero"] - track["noise"] >= -1e-9
        assert track["zero"] + track["noise"] <= 100 + 1e-9
        if row.value != 0 and abs(row.value) > 1e-6:
            assert (row.value > 0) == (track["at"] > track["zero"])


def test_without_a_number_there_is_no_position_on_the_scale():
    nothing = estimate("none", math.nan, (math.nan, math.nan), chance=math.nan)
    certain, missing = on_scale([counted("all", 4, 4), nothing], most=1.0)
    assert missing.track is None and missing.text == "–"
    assert certain.track["at"] == certain.track["high"] == 100 and certain.track["zero"] == 0
    lone = on_scale([estimate("no interval", 0.5, (math.nan, math.nan))], most=1.0)[0].track
    assert lone["low"] == lone["at"] == lone["high"] == 50
