"""The parts of the drop add up for any recordings."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_recordings import make_recording, random_influence, reduce

from neuronscope.analysis.completeness import completeness_by_layer, count_unconverged
from neuronscope.analysis.decomposition import PARTS, decompose
from neuronscope.results.comparison import Comparison


def drawn(seed, **changes):
    rng = np.random.default_rng(seed)
    facts = int(rng.integers(1, 5))
    splits = ["forget", *rng.choice(["forget", "test"], size=facts - 1)]
    return Comparison(
        *(
            make_recording(
                random_influence(rng.integers(10**9), facts).astype(np.float32),
                splits,
                score=rng.normal(size=facts),
                residual=rng.normal(),
                **changes,
            )
            for _ in range(2)
        )
    )


@given(st.integers(0, 10**6), st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_four_parts_add_up_to_the_drop_of_the_score(seed, joint):
    pair = drawn(seed, joint=joint, sites=("mlp.up", "attn.q"))
    layers = decompose(pair)
    forget = pair.before.in_split("forget")
    drop = (pair.before.score - pair.after.score)[forget].mean()
    np.testing.assert_allclose(layers["drop"], drop, atol=1e-14)
    np.testing.assert_allclose(layers[list(PARTS[1:])].sum(axis=1), drop, atol=1e-13)


def test_two_facts_by_hand():
    # One layer, two neurons, one position; baseline = score − explained − residual.
    # Before: influence (2, -1), (4, 0); score 3, 5; explained 1, 4; residual 0.5: baseline 1.5, .5.
    # After:  influence (1, -3), (-2, 1); score 0, 1; explained -2, -1; residual 0: baseline 2, 2.
    # drop            = (3 - 0 + 5 - 1) / 2 = 3.5
    # positive_lost   = ((2 - 1) + (4 - 1)) / 2 = 2
    # negative_gained = ((-1 + 3) + (0 + 2)) / 2 = 2
    # elsewhere       = ((1.5 - 2) + (0.5 - 2)) / 2 = -1
    # remainder       = 0.5 - 0 = 0.5
    before = make_recording([[[[2, -1]]], [[[4, 0]]]], score=[3, 5], residual=0.5)
    after = make_recording([[[[1, -3]]], [[[-2, 1]]]], score=[0, 1])
    row = decompose(Comparison(before, after))[list(PARTS)].iloc[0]
    assert row.tolist() == [3.5, 2.0, 2.0, -1.0, 0.5]


def test_hiding_may_lose_less_than_no_positive_influence():
    # One neuron turns against the answer by 50, another makes up for 43 of it: nothing is erased.
    before = make_recording([[[[1, 0]]]], score=[1])
    after = make_recording([[[[44, -50]]]], score=[-6])
    row = decompose(Comparison(before, after)).iloc[0]
    assert (row["drop"], row["positive_lost"], row["negative_gained"]) == (7, -43, 50)


def test_the_remainder_is_what_the_method_leaves_unexplained():
    influence = random_influence(0)
    before = make_recording(influence, residual=0.75)
    after = make_recording(influence / 2, residual=0.25)
    np.testing.assert_allclose(decompose(Comparison(before, after))["remainder"], 0.5, atol=1e-13)


def test_the_joint_path_is_one_row_for_all_layers():
    pair = [random_influence(0), random_influence(1)]
    apart = decompose(Comparison(*(make_recording(a, score=np.zeros(4)) for a in pair)))
    joint = decompose(Comparison(*(make_recording(a, score=np.zeros(4), joint=True) for a in pair)))
    assert joint["layer"].tolist() == ["all"] and apart["layer"].tolist() == [0, 1]
    for part in ("positive_lost", "negative_gained"):
        assert joint[part].item() == pytest.approx(apart[part].sum())


@pytest.mark.parametrize("joint", [False, True])
def test_means_give_the_same_parts_but_no_intervals(joint):
    pair = [make_recording(random_influence(seed), joint=joint) for seed in (0, 1)]
    by_fact, reduced = decompose(Comparison(*pair)), decompose(Comparison(*map(reduce, pair)))
    pd.testing.assert_frame_equal(reduced[["site", "layer", *PARTS]], by_fact.iloc[:, :7])
    for end in ("low", "high"):
        ends = [f"{part}_{end}" for part in PARTS]
        assert reduced[ends].isna().all(axis=None) and by_fact[ends].notna().all(axis=None)


def test_intervals_contain_their_means_and_vanish_if_facts_agree():
    layers = decompose(drawn(5))
    for part in PARTS:
        assert (layers[f"{part}_low"] <= layers[part] + 1e-12).all()
        assert (layers[f"{part}_high"] >= layers[part] - 1e-12).all()
    alike = [make_recording(np.repeat(random_influence(s, facts=1), 3, axis=0)) for s in (0, 1)]
    layers = decompose(Comparison(*alike))
    for part in PARTS:
        np.testing.assert_allclose(layers[f"{part}_low"], layers[part])
        np.testing.assert_allclose(layers[f"{part}_high"], layers[part])


def test_one_fact_has_no_intervals():
    pair = Comparison(*(make_recording(random_influence(s, facts=1)) for s in (0, 1)))
    layers = decompose(pair)
    assert layers[list(PARTS)].notna().all(axis=None)
    assert layers["drop_low"].isna().all() and layers["negative_gained_high"].isna().all()


def test_the_completeness_error_is_the_largest_of_the_forget_set():
    before = make_recording(random_influence(0), ["forget", "forget", "test", "test"])
    residual = np.array([[0.1, -0.2], [-0.3, 0.1], [9, 9], [9, 9]])
    after = make_recording(
        random_influence(1), ["forget", "forget", "test", "test"], residual=residual
    )
    pair = Comparison(before, after)
    table = completeness_by_layer(pair)
    assert table["layer"].tolist() == [0, 1]
    np.testing.assert_allclose(table["before"], 0, atol=1e-14)
    np.testing.assert_allclose(table["after"], [0.3, 0.2])
    assert count_unconverged(pair) == 4


@pytest.mark.parametrize(("setting", "count"), [({"tolerance": 0.15}, 4), ({"tolerance": 0.5}, 0),
                                                ({"tolerance": None}, 0), ({}, 0)])  # fmt: skip
def test_cells_are_counted_against_the_methods_own_tolerance(setting, count):
    pair = [make_recording(random_influence(0, facts=2), residual=r, settings=setting)
            for r in (0.2, 0.1)]  # fmt: skip
    assert count_unconverged(Comparison(*pair)) == count
