"""A diagnosis finds what was planted, and gives its reasons and limitations."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_recordings import make_recording, random_influence, reduce

from neuronscope.analysis.diagnosis import Diagnosis, compare
from neuronscope.report import diagnosis_json, reading_sentence

NEURONS = 20


def pair(hidden=0.0, erased=0.0, facts=10, null=12, known=None, kept=0, noise=0.01, **changes):
    """Facts that were all known before (or the first `known`), `kept` of which still are.

    On the forget set, neuron 7 gains negative influence `hidden` and neuron 3 loses positive
    influence `erased`.
    """
    rng = np.random.default_rng(0)
    everything = facts + null
    splits = ["forget"] * facts + ["retain"] * null
    before = np.zeros((everything, 2, 1, NEURONS))
    before[:, 0] = 5 + rng.normal(size=(everything, 1, NEURONS))
    after = before + noise * rng.normal(size=before.shape)
    after[:facts, 1, 0, 7] -= hidden
    after[:facts, 0, 0, 3] -= erased
    answered = np.arange(everything) < (everything if known is None else known)
    still = np.where(np.arange(everything) < facts, np.arange(everything) < kept, answered)
    return tuple(
        make_recording(influence, splits, answered=known_now, **changes)
        for influence, known_now in ((before, answered), (after, still & answered))
    )


@pytest.mark.parametrize(
    ("hidden", "erased", "reading"),
    [(3, 0, "hidden"), (3, 1, "hidden"), (2, 2, "mixed"), (1, 3, "erased"), (0, 3, "erased")],
)
def test_the_reading_is_what_was_planted(hidden, erased, reading):
    diagnosis = compare(*pair(hidden, erased))
    assert diagnosis.reading == reading
    sums = diagnosis.d_plus_sum, diagnosis.d_minus_sum
    assert sums == pytest.approx((erased, hidden), abs=0.1)
    assert diagnosis.drop == pytest.approx(hidden + erased, abs=0.1)
    assert diagnosis.drop_ci95[0] <= diagnosis.drop <= diagnosis.drop_ci95[1]
    assert (diagnosis.n_facts, diagnosis.n_null) == (10, 12)
    assert (diagnosis.answered_before, diagnosis.answered_after) == (10, 0)
    why = reading_sentence(diagnosis)
    assert why.startswith(reading.capitalize()) and why.endswith(".")
    assert f"gained {diagnosis.d_minus_sum:.3g} nats of negative influence" in why
    assert f"fell by {diagnosis.drop:.3g} nats (95 % interval" in why


def test_the_planted_neuron_is_the_spurious_one():
    diagnosis = compare(*pair(hidden=3, erased=3))
    assert diagnosis.neurons["d_minus"].idxmax() == 7
    assert diagnosis.neurons.index[diagnosis.neurons["spurious"]].tolist() == [7]
    assert diagnosis.n_spurious == 1


def test_tables_and_numbers_agree():
    diagnosis = compare(*pair(hidden=2, erased=1, sites=("mlp.up", "attn.q")))
    neurons, layers, curve = diagnosis.neurons, diagnosis.layers, diagnosis.curve
    assert neurons.columns.tolist() == [
        "site", "layer", "neuron", "before", "after", "d_plus", "d_minus", "p", "q", "spurious",
    ]  # fmt: skip
    assert neurons["spurious"].dtype == bool and diagnosis.sites == ("mlp.up", "attn.q")
    last = curve.iloc[-1]
    assert last["m"] == len(neurons) == 2 * NEURONS
    sums = diagnosis.d_plus_sum, diagnosis.d_minus_sum
    assert (last["d_plus"], last["d_minus"]) == pytest.approx(sums)
    assert diagnosis.d_minus_at_100 == pytest.approx(last["d_minus"])
    np.testing.assert_allclose(layers["drop"], diagnosis.drop)
    forgotten = diagnosis.facts[diagnosis.facts["split"] == "forget"]
    assert forgotten["score_before"].mean() == diagnosis.score_before
    assert diagnosis.score_before - diagnosis.score_after == pytest.approx(diagnosis.drop)
    assert len(diagnosis.facts) == 22 and len(diagnosis.modules) == 2


def test_a_model_compared_with_itself_has_forgotten_nothing():
    before, _ = pair(hidden=3, erased=3)
    diagnosis = compare(before, before)
    assert diagnosis.reading == "not forgotten" and diagnosis.drop == 0
    assert diagnosis.d_plus_sum == diagnosis.d_minus_sum == 0
    assert diagnosis.n_spurious == 0
    assert not diagnosis.neurons[["d_plus", "d_minus"]].any(axis=None)
    assert not diagnosis.layers[["drop", "positive_lost", "negative_gained", "elsewhere"]].any(
        axis=None
    )
    assert "10 of 10 facts answered before are still answered" in reading_sentence(diagnosis)


@pytest.mark.parametrize(
    ("known", "kept", "reading"),
    [(10, 6, "not forgotten"), (10, 5, "hidden"), (4, 3, "not forgotten"), (4, 2, "hidden")],
)
def test_if_more_than_half_are_still_answered_they_are_not_forgotten(known, kept, reading):
    diagnosis = compare(*pair(hidden=3, known=known, kept=kept))
    assert diagnosis.reading == reading
    assert f"{kept} of {known} facts answered before are still answered" in reading_sentence(
        diagnosis
    )


def test_if_nothing_was_known_the_drop_decides():
    assert compare(*pair(hidden=3, known=0)).reading == "hidden"
    unmoved = compare(*pair(hidden=0, known=0, noise=0.5))
    assert unmoved.drop_ci95[0] < 0 < unmoved.drop_ci95[1]
    assert unmoved.reading == "not forgotten" and "no fact was answered before" in reading_sentence(
        unmoved
    )
    single = compare(*pair(hidden=3, facts=1, known=0))
    assert np.isnan(single.drop_ci95).all() and single.reading == "hidden"


def test_a_rising_score_is_not_called_a_drop():
    risen = compare(*pair(hidden=-3, known=0))
    why = reading_sentence(risen)
    assert risen.reading == "not forgotten" and "rose by 2.99 nats" in why
    low, high = (float(word) for word in why.split("interval ")[1][:-2].split(" to "))
    assert 0 < low < 3.1 and low <= high
    lost = compare(*pair(hidden=-3, kept=0))
    assert any("although the mean score did not fall" in warning for warning in lost.warnings)


def test_recordings_of_means_give_the_same_numbers_without_intervals():
    before, after = pair(hidden=3, erased=1, null=0)
    whole, reduced = compare(before, after), compare(reduce(before), reduce(after))
    for name in ("drop", "drop_ci95", "d_plus_sum", "d_minus_at_100", "reading"):
        assert vars(whole)[name] == pytest.approx(vars(reduced)[name])
    assert reduced.n_spurious is None and reduced.neurons["q"].isna().all()
    assert any("only means over facts" in warning for warning in reduced.warnings)


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"null": 0}, "there is no test for spurious neurons"),
        ({"facts": 1}, "A single fact"),
        ({"facts": 7}, "Intervals from 7 facts are only a rough guide"),
        ({"facts": 2, "null": 2}, "no p-value can be below 0.17"),
    ],
)
def test_limitations_cause_a_warning(change, warning):
    assert any(warning in text for text in compare(*pair(hidden=3, **change)).warnings)
    assert compare(*pair(hidden=3)).warnings == ()


def test_unconverged_attributions_and_mixed_precision_cause_warnings():
    before, after = pair(hidden=3)
    score = after.score.copy()
    score[0] += 0.25
    off = compare(before, replace(after, score=score))
    assert off.unconverged == 1 and off.completeness_error == pytest.approx(0.25)
    assert any(text.startswith("1 attributions") for text in off.warnings)
    other = replace(after, provenance=replace(after.provenance, dtype="bfloat16"))
    assert any("float32 before, bfloat16 after" in text for text in compare(before, other).warnings)


def test_recordings_that_cannot_be_diagnosed_are_refused():
    ablation = make_recording(random_influence(0), attribution="ablation")
    with pytest.raises(ValueError, match="needs every neuron"):
        compare(ablation, ablation)
    retained = make_recording(random_influence(0), ["retain"] * 4)
    with pytest.raises(
        ValueError, match=r"Expected facts of split 'forget', got only \['retain'\]"
    ):
        compare(retained, retained)
    with pytest.raises(ValueError, match="same number of facts"):
        compare(retained, make_recording(random_influence(0, facts=3)))


def test_json_has_plain_values_and_null_for_nan():
    diagnosis = compare(*pair(hidden=3, facts=1, null=0))
    values = json.loads(json.dumps(diagnosis_json(diagnosis), allow_nan=False))
    tables = {"neurons", "curve", "modules", "facts", "findings", "verdict"}
    names = {field for field in Diagnosis.__dataclass_fields__ if field not in tables}
    assert set(values) == names | {"why", "reading_why"}
    assert values["why"] == values["reading_why"]
    assert values["drop_ci95"] == [None, None]
    assert values["n_spurious"] is None and values["d_minus_sum"] == diagnosis.d_minus_sum
    assert values["sites"] == ["mlp.post"] and values["warnings"] == list(diagnosis.warnings)
    (layer,) = values["layers"]
    part = "negative_gained"
    assert layer["layer"] == 0 and layer[part] == diagnosis.layers[part].item()
    assert layer["negative_gained_low"] is None
    assert values["completeness_by_layer"][0]["site"] == "mlp.post"
    assert values["provenance_before"]["settings"]["steps"] == 16


def test_the_joint_path_is_diagnosed_over_all_layers():
    rng = np.random.default_rng(0)
    pairs = [make_recording(rng.normal(size=(4, 2, 3, 5)), joint=True) for _ in range(2)]
    diagnosis = compare(*pairs)
    assert diagnosis.layers["layer"].tolist() == ["all"]
    assert diagnosis.completeness_by_layer["layer"].tolist() == ["all"]
    assert diagnosis.neurons["layer"].nunique() == len(diagnosis.modules) == 3
    json.dumps(diagnosis.to_json(), allow_nan=False)


def test_analysis_needs_no_model():
    program = (
        "import sys; import neuronscope.analysis.diagnosis, neuronscope.analysis.agreement, "
        "neuronscope.analysis.stability; print([name for name in sys.modules "
        "if name in ('torch', 'transformers', 'transformer_lens', 'plotly')])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, check=True
    )
    assert done.stdout.strip() == b"[]"
