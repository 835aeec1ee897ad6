"""Ablation equals the effect of removing a neuron's column of the down-projection."""

import copy

import pytest
import torch
from tiny import FACTS, StayDouble, batch_of, scores_of, tiny, tokenizer
from torch.testing import assert_close

from neuronscope.attribution.ablation import Ablation
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target

BATCH = batch_of(FACTS)
SITES = ("mlp.post",)

COLUMN = {
    "gpt2": lambda hf, layer, neuron: hf.transformer.h[layer].mlp.c_proj.weight[neuron],
    "gpt_neox": lambda hf, layer, neuron: hf.gpt_neox.layers[layer].mlp.dense_4h_to_h.weight[
        :, neuron
    ],
    "llama": lambda hf, layer, neuron: hf.model.layers[layer].mlp.down_proj.weight[:, neuron],
    "mixtral": lambda hf, layer, neuron: hf.model.layers[layer].mlp.experts.down_proj[
        neuron // 12, :, neuron % 12
    ],
}
"""The down-projection of each architecture."""


def scaled(model, architecture, layer, neuron, factor):
    """The model with one neuron's column of the down-projection scaled."""
    hf = copy.deepcopy(model.hf)
    with torch.no_grad():
        COLUMN[architecture](hf, layer, neuron).mul_(factor)
    return HookedModel.of(hf, tokenizer())


@pytest.mark.parametrize("architecture", COLUMN)
def test_ablation_equals_the_effect_of_a_zero_column_of_the_down_projection(architecture):
    model = tiny(architecture)
    width = model.hook_points_at("mlp.post")[0].width
    chosen = tuple((layer, neuron) for layer in (0, 1) for neuron in range(layer, width, 5))
    with StayDouble():
        found = Ablation(neurons=chosen)(model, BATCH, SITES, Target())["mlp.post"]
        for layer, neuron in chosen:
            emptied = scaled(model, architecture, layer, neuron, 0.0)
            effect = scores_of(model, BATCH) - scores_of(emptied, BATCH)
            assert_close(found.total[:, layer, neuron], effect, rtol=0, atol=1e-12)
        assert found.total.nan_to_num().abs().max() > 0.1


def test_first_order_methods_agree_with_ablation_for_small_output_weights():
    model = tiny("llama")
    place = (slice(None), 0, 5)
    apart = {}
    for factor in (1.0, 1e-2, 1e-4):
        small = scaled(model, "llama", 0, 5, factor)
        with StayDouble():
            exact = Ablation(neurons=((0, 5),))(small, BATCH, SITES, Target())["mlp.post"]
            first = GradientXActivation()(small, BATCH, SITES, Target())["mlp.post"]
        effect = exact.total[place]
        apart[factor] = float(((first.total[place] - effect) / effect).abs().max())
    assert apart[1.0] > 0.1
    assert apart[1e-4] < 1e-2
    # The error is of second order: relative to the effect, it is proportional to the weight.
    assert apart[1e-2] / apart[1e-4] == pytest.approx(100, rel=0.2)


def test_complete_methods_agree_on_a_layer_with_a_single_active_neuron():
    model = tiny("gpt2")
    for neuron in range(1, 12):
        model = scaled(model, "gpt2", 1, neuron, 0.0)
    with StayDouble():
        exact = Ablation()(model, BATCH, SITES, Target())["mlp.post"].total[:, 1]
        method = IntegratedGradients(tolerance=1e-9, max_steps=2000, baseline="zero")
        along = method(model, BATCH, SITES, Target())["mlp.post"].total[:, 1]
    assert exact[:, 0].abs().min() > 1e-3 and not exact[:, 1:].any()
    assert_close(along, exact, rtol=0, atol=1e-8)


def test_exactly_the_neurons_that_were_not_ablated_are_nan():
    model = tiny("llama")
    found = Ablation(sample=7, seed=3)(model, BATCH, ("mlp.post", "attn.v"), Target())
    for site, width in (("mlp.post", 12), ("attn.v", 8)):
        chosen = Ablation(sample=7, seed=3).chosen(2, width)
        measured = torch.zeros(2, width, dtype=torch.bool)
        measured[tuple(torch.tensor(chosen).T)] = True
        assert sorted(measured.sum(dim=1).tolist()) == [3, 4]
        here = found[site]
        for table in (here.total, here.positive, here.negative):
            assert torch.equal(table.isfinite(), measured.expand_as(table))
        assert_close(here.positive + here.negative, here.total, equal_nan=True)
        assert_close(here.explained, here.total.nan_to_num().sum(dim=-1))
        assert here.activation.isfinite().all() and here.baseline_score.isfinite().all()


def test_samples_are_even_over_layers_and_seeded():
    draws = [Ablation(sample=30, seed=seed).chosen(4, 100) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 30
    per_layer = [sum(layer == at for at, _ in draws[0]) for layer in range(4)]
    assert sorted(per_layer) == [7, 7, 8, 8]
    assert Ablation(sample=300).chosen(2, 3) == [(a, b) for a in range(2) for b in range(3)]


@pytest.mark.parametrize("neuron", [(2, 0), (0, 12), (-1, 0), (0, -1)])
def test_a_neuron_that_does_not_exist_is_refused(neuron):
    model = tiny("llama")
    with pytest.raises(ValueError, match="layers 0 to 1 with 12 neurons"):
        Ablation(neurons=((0, 0), neuron))(model, BATCH, SITES, Target())


def test_an_empty_sample_is_refused():
    for settings in ({"sample": 0}, {"sample": -2}, {"neurons": ()}):
        with pytest.raises(ValueError, match="at least one neuron"):
            Ablation(**settings)
