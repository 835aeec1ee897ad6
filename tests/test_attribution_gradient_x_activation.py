"""Gradient × activation equals the result of a loop over plain PyTorch hooks."""

import pytest
import torch
from tiny import FACTS, batch_of, scores_of, tiny, written
from torch.testing import assert_close

from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.models.targets import Target

BATCH = batch_of(FACTS)


def by_hand(model, hook_point, row, of_target):
    """One fact alone, without padding: its influence `[pos, neuron]` and its activations."""
    kept = []
    if hook_point.side == "input":
        hook = hook_point.module.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    else:
        hook = hook_point.module.register_forward_hook(lambda _, args, output: kept.append(output))
    tokens = BATCH.tokens[row, : BATCH.lengths[row]]
    start = BATCH.prompt_lengths[row]
    logits = model.hf(input_ids=tokens[None, :-1], use_cache=False).logits[0, start - 1 :]
    hook.remove()
    (gradient,) = torch.autograd.grad(of_target(logits.softmax(dim=-1), tokens[start:]), kept[0])
    columns = torch.arange(kept[0].shape[-1]) if hook_point.columns is None else hook_point.columns
    neurons = kept[0].detach().view(len(tokens) - 1, -1)[:, columns]
    return neurons * gradient.view(len(tokens) - 1, -1)[:, columns], neurons[start - 1 :]


def mean_log_odds(probabilities, answer):
    p = probabilities.gather(-1, answer[:, None])
    return (p / (1 - p)).log().mean()


def product(probabilities, answer):
    return probabilities.gather(-1, answer[:, None]).prod()


@pytest.mark.parametrize(
    ("target", "of_target"),
    [(Target(), mean_log_odds), (Target("prob"), product)],
    ids=["log_odds", "prob"],
)
@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "llama", "phi3", "mixtral"])
def test_it_equals_a_loop_over_plain_hooks(architecture, target, of_target):
    model = tiny(architecture)
    found = GradientXActivation()(model, BATCH, model.sites, target)
    for site in model.sites:
        for hook_point in model.hook_points_at(site):
            for row in range(len(FACTS)):
                influence, neurons = by_hand(model, hook_point, row, of_target)
                ours, place = found[site], (row, hook_point.layer)
                scale = float(influence.abs().max())
                assert scale > 0
                for value, expected in (
                    (ours.total[place], influence.sum(dim=0)),
                    (ours.positive[place], influence.amax(dim=0)),
                    (ours.negative[place], influence.amin(dim=0)),
                ):
                    assert_close(value, expected, rtol=0, atol=1e-6 * scale)
                assert_close(ours.activation[place], neurons.mean(dim=0), rtol=1e-6, atol=1e-6)


def test_its_baseline_score_is_the_target_with_the_layer_ablated():
    model = tiny("llama")
    found = GradientXActivation()(model, BATCH, ("mlp.post",), Target())["mlp.post"]
    everywhere = torch.ones(BATCH.tokens[:, :-1].shape, dtype=torch.bool)
    for layer, hook_point in enumerate(model.hook_points_at("mlp.post")):
        with written(
            {hook_point: torch.zeros(1, 1, hook_point.width, dtype=torch.float64)}, everywhere
        ):
            assert_close(found.baseline_score[:, layer], scores_of(model, BATCH))
    assert_close(found.explained, found.total.sum(dim=-1))
    missing = scores_of(model, BATCH)[:, None] - found.baseline_score - found.explained
    assert missing.abs().min() > 1e-3
    assert (found.nodes == 1).all()
