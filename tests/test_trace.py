"""A trace has one value per position; the values sum to the recorded influence."""

import numpy as np
import pytest
import torch
from tiny import FACTS, RETAIN, tiny

import neuronscope as ns
from neuronscope.attribution import integrated_gradients, record, trace
from neuronscope.attribution._baselines import Reference
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.models.targets import Target

FACT = FACTS[2]
"""Its answer has two tokens."""


@pytest.fixture(scope="module", params=("gpt2", "llama", "mixtral"))
def model(request):
    return tiny(request.param)


def recorded(model, method, fact=FACT, site="mlp.post", target=None):
    return record(model, [fact], method, (site,), target, progress=False)


@pytest.mark.parametrize("target", [Target(), Target("prob")], ids=lambda target: target.name)
def test_sums_over_positions_equal_the_recorded_influence(model, target):
    traced = trace(model, FACT, target=target)
    assert traced.baseline == "zero" and "neutral facts" in " ".join(traced.notes)
    first = recorded(model, GradientXActivation(), target=target)
    whole = recorded(model, IntegratedGradients(), target=target)
    for values, recording in (
        (traced.gradient_x_activation, first),
        (traced.integrated_gradients, whole),
    ):
        site = recording.sites["mlp.post"]
        np.testing.assert_allclose(values.sum(axis=0), site.total[0].ravel(), atol=1e-12)
        np.testing.assert_allclose(values.max(axis=0), site.positive[0].ravel(), atol=1e-12)
        np.testing.assert_allclose(values.min(axis=0), site.negative[0].ravel(), atol=1e-12)
    activation = traced.activation[traced.predicting].mean(axis=0)
    np.testing.assert_allclose(activation, whole.sites["mlp.post"].activation[0].ravel())
    assert traced.score == whole.score[0] and traced.unit == whole.provenance.unit
    error = whole.completeness_error("mlp.post")[0]
    np.testing.assert_allclose(traced.completeness_error, error, atol=1e-12)


def test_influences_add_up_to_score_minus_baseline_score(model):
    traced = trace(model, FACT, steps=16)
    by_layer = [
        traced.integrated_gradients[:, traced.layer == layer].sum() for layer in traced.layers
    ]
    np.testing.assert_allclose(by_layer, traced.score - traced.baseline_score, atol=1e-3)
    assert np.abs(traced.completeness_error).max() < 1e-3
    assert np.abs(traced.score - traced.baseline_score).min() > 1e-3


def test_chosen_neurons_are_columns_in_the_given_order():
    model = tiny("llama")
    everything = trace(model, FACT)
    chosen = ((1, 7), (0, 3), (1, 0))
    some = trace(model, FACT, chosen)
    assert list(zip(some.layer.tolist(), some.neuron.tolist(), strict=True)) == list(chosen)
    places = [layer * 12 + neuron for layer, neuron in chosen]
    for name in ("activation", "gradient_x_activation", "integrated_gradients"):
        np.testing.assert_allclose(getattr(some, name), getattr(everything, name)[:, places])
    lone = trace(model, FACT, [(1, 7)])
    assert lone.layers.tolist() == [1]
    np.testing.assert_allclose(lone.completeness_error, everything.completeness_error[1:])


def test_the_table_has_one_row_per_token_and_neuron():
    model = tiny("llama")
    traced = trace(model, FACT, [(0, 1), (1, 2)])
    assert traced.tokens[-1] == "New" and traced.predicting.sum() == 2
    table = traced.table()
    assert len(table) == len(traced.tokens) * 2
    row = table[(table["pos"] == 1) & (table["layer"] == 1)].iloc[0]
    assert (row["token"], row["neuron"]) == (traced.tokens[1], 2)
    assert row["integrated_gradients"] == traced.integrated_gradients[1, 1]
    assert len(repr(traced)) < 400 and "layer 1, neuron 2" in traced._repr_html_()


def test_other_sites_and_other_baselines_can_be_traced():
    model = tiny("llama")
    assert np.isfinite(trace(model, FACT, site="attn.q").integrated_gradients).all()
    zero, other = (
        trace(model, FACT, baseline=base) for base in ("zero", Reference("the cat eats figs"))
    )
    np.testing.assert_allclose(other.gradient_x_activation, zero.gradient_x_activation)
    assert np.abs(other.integrated_gradients - zero.integrated_gradients).max() > 1e-3
    assert np.abs(other.completeness_error).max() < 1e-3
    assert (zero.baseline, zero.notes) == ("zero", ())


def test_the_default_baseline_is_that_of_a_recording(monkeypatch):
    model = tiny("llama")
    monkeypatch.setattr(integrated_gradients, "neutral_facts", lambda *_: RETAIN)
    traced = trace(model, FACT)
    recording = recorded(model, IntegratedGradients())
    assert traced.baseline == recording.provenance.settings["baseline"]
    assert traced.baseline.startswith(f"mean over {len(RETAIN)}") and not traced.notes
    site = recording.sites["mlp.post"]
    np.testing.assert_allclose(
        traced.integrated_gradients.sum(axis=0), site.total[0].ravel(), atol=1e-12
    )
    zero = trace(model, FACT, baseline="zero")
    assert np.abs(traced.integrated_gradients - zero.integrated_gradients).max() > 1e-3


@pytest.mark.parametrize("neurons", [[(2, 0)], [(0, 12)], [(-1, 0)], []])
def test_a_neuron_that_does_not_exist_is_refused(neurons):
    with pytest.raises(ValueError, match="neuron"):
        trace(tiny("llama"), FACT, neurons)
    with pytest.raises(ValueError, match=r"site|mlp"):
        trace(tiny("llama"), FACT, site="mlp.nowhere")


def test_the_model_is_unchanged(model):
    before = model.fingerprint()
    ns.trace(model, FACT)
    assert model.fingerprint() == before
    assert all(p.grad is None and p.requires_grad for p in model.hf.parameters())
    assert not any(module._forward_hooks for module in model.hf.modules())
    assert torch.is_grad_enabled()
