"""The neurons of routed experts, exposed to hooks without changing the model."""

import json

import pytest
import torch
from tiny import (
    EXPERT_ARCHITECTURES,
    FACTS,
    StayDouble,
    batch_of,
    hf_model,
    real_positions,
    tiny,
    tokenizer,
    written,
)
from torch.nn.functional import linear
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from neuronscope.attribution._baselines import activations
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.models.hook_points import hooked
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.moe import IMPLEMENTATION
from neuronscope.models.targets import Target

BATCH = batch_of(FACTS)
TOKENS = BATCH.tokens[:, :-1]
REAL = real_positions(BATCH)
EXPERTS, CHOSEN = 4, 2

every_architecture = pytest.mark.parametrize("architecture", EXPERT_ARCHITECTURES)


def logits_of(hf):
    with torch.no_grad():
        return hf(input_ids=TOKENS, use_cache=False).logits


def seen_by(module, hf, side="input"):
    """A module's input or output in a forward pass over the batch."""
    seen = []
    if side == "input":
        hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    else:
        hook = module.register_forward_hook(lambda _, args, output: seen.append(output))
    logits_of(hf)
    hook.remove()
    return seen[0]


def routing(model, layer):
    """The weight of every expert for every token, by hand: `[token, expert]`, 0 if not chosen."""
    router = model.hf.model.layers[layer].mlp.gate
    weights = linear(seen_by(router, model.hf).flatten(0, -2), router.weight).softmax(dim=-1)
    best, index = weights.topk(CHOSEN, dim=-1)
    if getattr(model.hf.config, "norm_topk_prob", True):
        best = best / best.sum(dim=-1, keepdim=True)
    return torch.zeros_like(weights).scatter(1, index, best)


def neurons_of(model, layer):
    return activations(model, TOKENS, (model.hook_points_at("mlp.post")[layer],))[0]


@every_architecture
def test_exposed_experts_give_the_logits_of_the_eager_ones(architecture):
    hf = hf_model(architecture)
    hf.set_experts_implementation("eager")
    with StayDouble():
        eager = logits_of(hf)
        model = HookedModel.of(hf, tokenizer())
        assert hf.config._experts_implementation == IMPLEMENTATION
        assert_close(logits_of(hf), eager, rtol=1e-12, atol=1e-12)
        with hooked(
            [(hook_point, torch.clone) for hook_point in model.hook_points_at("mlp.post")],
            TOKENS.shape[1],
        ):
            assert_close(logits_of(hf), eager, rtol=1e-12, atol=1e-12)


@every_architecture
def test_neurons_are_those_of_the_chosen_experts_and_zero_elsewhere(architecture):
    model = tiny(architecture)
    experts = model.hf.model.layers[1].mlp.experts
    inputs = seen_by(experts, model.hf).flatten(0, -2)
    chosen = routing(model, 1) > 0
    ours = neurons_of(model, 1).flatten(0, 1).view(len(inputs), EXPERTS, -1)
    for expert in range(EXPERTS):
        gate, up = linear(inputs, experts.gate_up_proj[expert]).chunk(2, dim=-1)
        expected = torch.nn.functional.silu(gate) * up * chosen[:, expert, None]
        assert_close(ours[:, expert], expected)
    assert (chosen.sum(dim=1) == CHOSEN).all() and chosen.any(dim=0).sum() > CHOSEN


@every_architecture
def test_a_neuron_affects_only_the_tokens_of_its_expert(architecture):
    model = tiny(architecture)
    hook_point = model.hook_points_at("mlp.post")[1]
    block = model.hf.model.layers[1].mlp
    width = hook_point.width // EXPERTS
    before, weights = seen_by(block, model.hf, "output"), routing(model, 1)
    for expert, index in [(0, 0), (1, width - 1), (2, 1), (3, 3)]:

        def push(neurons, at=expert * width + index):
            neurons = neurons.clone()
            neurons[..., at] += 1
            return neurons

        with hooked([(hook_point, push)], TOKENS.shape[1]):
            moved = (seen_by(block, model.hf, "output") - before).flatten(0, 1)
        expected = weights[:, expert, None] * block.experts.down_proj[expert, :, index]
        assert_close(moved, expected, rtol=1e-6, atol=1e-7)
        routed = weights[:, expert] > 0
        assert routed.any() and not routed.all()
        assert (moved[routed].abs().max(dim=1).values > 0).all() and not moved[~routed].any()


@every_architecture
def test_the_gradient_of_a_neuron_is_its_numeric_derivative(architecture):
    model = tiny(architecture)
    hook_point = model.hook_points_at("mlp.post")[0]
    real = REAL[:1]
    tokens = TOKENS[:1]
    leaf = activations(model, tokens, (hook_point,))[0].requires_grad_()
    with StayDouble():
        with hooked([(hook_point, lambda _: leaf)], tokens.shape[1]):
            score = model.hf(input_ids=tokens, use_cache=False).logits[real].sin().sum()
        (gradient,) = torch.autograd.grad(score, leaf)
        active = leaf[0, 1].nonzero()[:, 0].tolist()
        for neuron in active:
            ends = []
            for sign in (1, -1):
                moved = leaf.detach().clone()
                moved[0, 1, neuron] += sign * 1e-5
                with torch.no_grad(), written({hook_point: moved}, real):
                    logits = model.hf(input_ids=tokens, use_cache=False).logits
                ends.append(logits[real].sin().sum())
            assert_close(gradient[0, 1, neuron], (ends[0] - ends[1]) / 2e-5, rtol=1e-5, atol=1e-8)
    assert len(active) == CHOSEN * hook_point.width // EXPERTS
    inactive = leaf[0, 1] == 0
    assert gradient[0, 1][~inactive].abs().min() > 0 and not gradient[0, 1][inactive].any()


@every_architecture
def test_experts_without_tokens_have_no_influence(architecture):
    model = tiny(architecture)
    width = model.hook_points_at("mlp.post")[0].width // EXPERTS
    for method in (GradientXActivation(), IntegratedGradients(baseline="zero")):
        found = method(model, BATCH, ("mlp.post",), Target())["mlp.post"]
        unused = 0
        for layer in range(model.n_layers):
            visited = (routing(model, layer) > 0).view(*TOKENS.shape, EXPERTS) & REAL[..., None]
            by_expert = found.total[:, layer].unflatten(-1, (EXPERTS, width))
            used = visited.any(dim=1)
            assert not by_expert[~used].any()
            # What earlier positions do in the last layer is read by no later one.
            if layer == 0:
                assert (by_expert[used].abs().sum(dim=-1) > 0).all()
            unused += int((~used).sum())
        assert unused


@every_architecture
def test_saved_files_do_not_record_that_the_experts_were_exposed(architecture, tmp_path):
    hf = hf_model(architecture)
    names = list(hf.state_dict())
    model = HookedModel.of(hf, tokenizer())
    assert list(hf.state_dict()) == names
    hf.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert IMPLEMENTATION not in json.dumps(config) and "experts_implementation" not in config
    again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    assert again.config._experts_implementation != IMPLEMENTATION
    again.set_experts_implementation("eager")
    assert_close(logits_of(again), logits_of(model.hf), rtol=1e-5, atol=1e-5)


def test_exposing_experts_twice_changes_nothing():
    hf = hf_model("mixtral")
    first, second = (HookedModel.of(hf, tokenizer()) for _ in range(2))
    assert [hook_point.module for hook_point in first.hook_points] == [
        hook_point.module for hook_point in second.hook_points
    ]
    assert first.experts == second.experts == EXPERTS
    assert tiny("llama").experts == 0
