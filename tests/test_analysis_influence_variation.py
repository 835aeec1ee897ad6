"""D⁺ and D⁻, their curve and their map agree with the paper, including both clamps."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_recordings import make_recording, random_influence, reduce

from neuronscope.analysis.influence_variation import (
    BLOCK,
    changes_by_fact,
    cumulative_curve,
    influence_variation,
    module_map,
    sum_of_largest,
)
from neuronscope.results.comparison import Comparison

# Two facts, two positions, one layer, three neurons.
BEFORE = [
    [[[3, 0, -1]], [[1, 2, -2]]],
    [[[1, 1, 0]], [[2, -1, -1]]],
]
AFTER = [
    [[[1, 1, -4]], [[-2, 1, 0]]],
    [[[-3, -1, 1]], [[-1, 3, -2]]],
]


def test_three_neurons_two_positions_and_two_facts_by_hand():
    # Largest at any position.   Before: fact 1 (3, 2, -1), fact 2 (2, 1, 0).
    #                            After:  fact 1 (1, 1, 0), fact 2 (-1, 3, 1); kept: (0, 3, 1).
    #   lost = before - kept:    fact 1 (2, 1, -1), fact 2 (2, -2, -1); mean (2, -0.5, -1).
    #   D+ = (2, 0, 0): neuron 0 falls below zero in fact 2, which adds nothing (without that clamp
    #   it would be 2.5); neuron 1 is clamped after averaging (before averaging it would be 0.5).
    # Smallest at any position.  Before: fact 1 (1, 0, -2), fact 2 (1, -1, -1).
    #                            After:  fact 1 (-2, 1, -4), fact 2 (-3, -1, -2).
    #   gained = before - after: fact 1 (3, -1, 2), fact 2 (4, 0, 1); mean (3.5, -0.5, 1.5).
    #   D- = (3.5, 0, 1.5).
    # Sums over positions.       Before: (4, 2, -3), (3, 0, -1): mean (3.5, 1, -2).
    #                            After:  (-1, 2, -4), (-4, 2, -1): mean (-2.5, 2, -2.5).
    neurons = influence_variation(Comparison(make_recording(BEFORE), make_recording(AFTER)))
    expected = pd.DataFrame(
        {
            "site": "mlp.post",
            "layer": 0,
            "neuron": [0, 1, 2],
            "before": [3.5, 1.0, -2.0],
            "after": [-2.5, 2.0, -2.5],
            "d_plus": [2.0, 0.0, 0.0],
            "d_minus": [3.5, 0.0, 1.5],
        }
    )
    pd.testing.assert_frame_equal(neurons, expected)
    curve = cumulative_curve(neurons)
    assert curve.to_dict("list") == {"m": [1, 2, 3], "d_plus": [2, 2, 2], "d_minus": [3.5, 5, 5]}
    modules = module_map(neurons).to_dict("records")
    assert modules == [
        {"site": "mlp.post", "layer": 0, "d_plus": 2 / 3, "d_minus": 5 / 3},
    ]


def test_a_recording_compared_with_itself_has_no_variation():
    recording = make_recording(random_influence(0))
    neurons = influence_variation(Comparison(recording, recording))
    assert (neurons["d_minus"] == 0).all()
    # A_max below zero before is itself "kept" as zero: the difference is negative and clamped.
    assert (neurons["d_plus"] == 0).all()


def test_swapping_before_and_after_turns_growth_into_decrease():
    pair = make_recording(random_influence(0)), make_recording(random_influence(1))
    there, back = (influence_variation(Comparison(*p))["d_minus"] for p in (pair, pair[::-1]))
    assert ((there > 0) != (back > 0)).all()


@given(st.integers(0, 10**6), st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_facts_changes_nothing(seed, order):
    before, after = random_influence(seed), random_influence(seed + 1)
    tables = [
        influence_variation(Comparison(make_recording(a), make_recording(b)))
        for a, b in ((before, after), (before[order], after[order]))
    ]
    pd.testing.assert_frame_equal(*tables)


def test_means_give_what_the_facts_give():
    pair = make_recording(random_influence(0)), make_recording(random_influence(1))
    reduced = influence_variation(Comparison(*map(reduce, pair)))
    pd.testing.assert_frame_equal(reduced, influence_variation(Comparison(*pair)))


def test_null_facts_do_not_enter():
    before, after = random_influence(0), random_influence(1)
    splits = ["forget", "retain", "forget", "test"]
    mixed = Comparison(make_recording(before, splits), make_recording(after, splits))
    forgotten = Comparison(make_recording(before[::2]), make_recording(after[::2]))
    pd.testing.assert_frame_equal(influence_variation(mixed), influence_variation(forgotten))


def test_the_blocks_average_to_d_plus_and_d_minus_in_the_order_of_the_table():
    before = random_influence(0, positions=1, neurons=BLOCK + 3)
    after = random_influence(1, positions=1, neurons=BLOCK + 3)
    pair = Comparison(*(make_recording(a, sites=("mlp.up", "attn.q")) for a in (before, after)))
    table = influence_variation(pair)
    blocks = list(changes_by_fact(pair, pair.before.in_split("forget")))
    assert len(blocks) == 2 * 2 * 2
    for name, number in (("d_plus", 0), ("d_minus", 1)):
        means = np.concatenate([block[number].mean(axis=0) for block in blocks])
        np.testing.assert_allclose(np.maximum(means, 0), table[name], atol=1e-14)


@pytest.mark.parametrize("count", [1, 7, 100, 1999, 30_000])
def test_the_curve_is_thinned_but_keeps_its_landmarks(count):
    rng = np.random.default_rng(count)
    table = pd.DataFrame({"d_plus": rng.exponential(size=count), "d_minus": rng.random(count)})
    curve = cumulative_curve(table)
    assert len(curve) <= 2000 and curve["m"].is_monotonic_increasing and curve["m"].is_unique
    assert {1, min(100, count), count} <= set(curve["m"])
    for name in ("d_plus", "d_minus"):
        by_m = dict(zip(curve["m"], curve[name], strict=True))
        assert by_m[1] == table[name].max()
        assert by_m[count] == pytest.approx(table[name].sum())
        assert by_m[min(100, count)] == pytest.approx(sum_of_largest(table[name].to_numpy()))
        assert (np.diff(np.diff(curve[name]) / np.diff(curve["m"])) <= 1e-12).all()  # concave


def test_the_module_map_averages_the_hundred_largest_of_each_layer():
    influence = np.zeros((1, 2, 2, 150))
    lost = influence.copy()
    lost[0, 0, 1] = np.arange(150)  # layer 1 loses 0 … 149 in D⁺: the largest hundred are 50 … 149
    modules = module_map(influence_variation(Comparison(*map(make_recording, (lost, influence)))))
    assert modules["d_plus"].tolist() == [0, np.arange(50, 150).mean()]
    assert modules["d_minus"].tolist() == [0, 0]


def test_in_mixtures_the_expert_is_named_where_there_are_experts():
    recording = make_recording(
        random_influence(0, neurons=6), sites=("mlp.post", "attn.q"), experts=3
    )
    neurons = influence_variation(Comparison(recording, recording))
    assert neurons.columns[:4].tolist() == ["site", "layer", "neuron", "expert"]
    mixed = neurons[neurons["site"] == "mlp.post"]
    assert mixed["expert"].tolist() == 2 * [0, 0, 1, 1, 2, 2]
    assert neurons.loc[neurons["site"] == "attn.q", "expert"].isna().all()
    dense = replace(recording, provenance=replace(recording.provenance, experts=0))
    assert "expert" not in influence_variation(Comparison(dense, dense))
