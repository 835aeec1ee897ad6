"""Agreement between methods, and stability of one method between two states."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_recordings import make_recording, random_influence, reduce

from neuronscope.analysis.agreement import agreement
from neuronscope.analysis.stability import stability


def by_method(influence, method="conductance", **changes):
    return make_recording(influence, attribution=method, score=np.zeros(len(influence)), **changes)


def with_gaps(recording, unmeasured):
    """The same by ablation, which did not measure the neurons marked `unmeasured`."""
    site = recording.sites["mlp.post"]
    arrays = {
        name: np.where(unmeasured, np.nan, vars(site)[name])
        for name in ("total", "positive", "negative")
    }
    provenance = replace(recording.provenance, attribution="ablation")
    return replace(recording, sites={"mlp.post": replace(site, **arrays)}, provenance=provenance)


def test_a_method_agrees_with_itself_and_with_any_rescaling_of_itself():
    influence = random_influence(0, neurons=60)
    result = agreement(by_method(influence), by_method(7 * influence, "ablation"), top=10)
    assert result.spearman == pytest.approx(1) and result.overlap == 1
    assert result.spearman_ci95 == pytest.approx((1, 1))
    assert (result.top, result.n_neurons, result.overlap_by_chance) == (10, 120, 10 / 120)


def test_opposite_signs_disagree_in_rank_and_agree_in_strength():
    influence = random_influence(0, neurons=60)
    result = agreement(by_method(influence), by_method(-influence), top=10)
    assert result.spearman == pytest.approx(-1) and result.overlap == 1


def test_unrelated_methods_agree_by_chance():
    methods = [reduce(by_method(random_influence(seed, neurons=500))) for seed in range(12)]
    results = [agreement(*methods[i : i + 2], top=100) for i in range(0, 12, 2)]
    assert {result.overlap_by_chance for result in results} == {100 / 1000}
    assert np.mean([result.overlap for result in results]) == pytest.approx(0.1, abs=0.04)
    assert np.mean([result.spearman for result in results]) == pytest.approx(0, abs=0.04)


def test_noise_between_facts_opens_the_interval():
    influence = random_influence(0, facts=12, neurons=60)
    noisy = influence + 0.5 * random_influence(1, facts=12, neurons=60)
    result = agreement(by_method(influence), by_method(noisy))
    low, high = result.spearman_ci95
    assert low < result.spearman < 1 and 0 < high - low < 0.5


def test_only_neurons_that_both_measured_count():
    unmeasured = np.zeros((2, 60), dtype=bool)
    unmeasured[0, 20:] = unmeasured[1, :10] = True
    influence = random_influence(0, neurons=60)
    other = influence.copy()
    other[:, :, unmeasured] = 10**6
    full = by_method(other)
    result = agreement(full, with_gaps(by_method(influence), unmeasured), top=1000)
    assert result.n_neurons == result.top == 20 + 50
    assert result.spearman == pytest.approx(1) and result.overlap == 1
    nothing = with_gaps(by_method(influence), np.ones((2, 60), dtype=bool))
    with pytest.raises(ValueError, match="Expected neurons that both methods measured"):
        agreement(full, nothing)


def test_means_give_the_same_agreement_without_an_interval():
    methods = [by_method(random_influence(seed)) for seed in (0, 1)]
    whole, reduced = agreement(*methods), agreement(*map(reduce, methods))
    assert reduced.spearman == whole.spearman and np.isnan(reduced.spearman_ci95).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_hash": "n"}, r"same model \(by hash\), got 'm' and 'n'"),
        ({"facts_hash": "g"}, "same facts"),
        ({"target": "prob"}, "same target"),
        ({"prompt_form": "chat"}, "same prompt form"),
        ({"sites": ("mlp.up",)}, "same sites and their neurons"),
    ],
)
def test_methods_are_compared_on_the_same_model_and_facts(change, message):
    influence = random_influence(0)
    with pytest.raises(ValueError, match=message):
        agreement(by_method(influence), by_method(influence, **change))


def test_without_a_change_the_attributions_are_perfectly_stable():
    recording = make_recording(random_influence(0), sites=("mlp.up", "attn.q"))
    result = stability(recording, recording)
    assert (result.pearson, result.spearman) == pytest.approx((1, 1)) and result.n_neurons == 20


def test_stability_falls_with_the_size_of_the_change():
    influence, change = random_influence(0, neurons=200), random_influence(1, neurons=200)
    before = make_recording(influence)
    found = [stability(before, make_recording(influence + s * change)) for s in (0.1, 0.5, 2)]
    for name in ("pearson", "spearman"):
        values = [vars(result)[name] for result in found]
        assert values == sorted(values, reverse=True) and values[0] > 0.98 and values[-1] < 0.6


def test_constant_attributions_have_no_stability():
    flat = make_recording(np.ones((2, 1, 1, 4)))
    assert np.isnan(stability(flat, make_recording(random_influence(0, 2, 1, 1, 4))).pearson)
