"""Conductance equals a computation with plain PyTorch hooks; it has the expected limits."""

import pytest
import torch
from tiny import FACTS, StayDouble, batch_of, real_positions, tiny
from torch.testing import assert_close

from neuronscope.attribution.conductance import Conductance
from neuronscope.models.targets import Answers, Target

BATCH = batch_of(FACTS)
SITES = ("mlp.post",)
ANSWERS = Answers.of(BATCH)


def at(model, hook_point, embeddings):
    """The target, a hook point's activations and the target's gradient, by plain PyTorch hooks."""
    kept = []
    hook = hook_point.module.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    logits = model.hf(inputs_embeds=embeddings, use_cache=False).logits
    hook.remove()
    score = Target()(logits[ANSWERS.row, ANSWERS.position], ANSWERS)
    (gradient,) = torch.autograd.grad(score.sum(), kept[0])
    return score.detach(), kept[0].detach(), gradient


@pytest.mark.parametrize("baseline", ["mean", "zero", "reference"])
def test_one_step_equals_the_change_of_the_activations_times_the_gradient_at_its_ends(baseline):
    model = tiny("llama")
    embed = model.hf.get_input_embeddings()
    ends = embed(BATCH.tokens[:, :-1])
    reference = "the cat of Spain"
    begin = {
        "mean": embed.weight.mean(dim=0).expand_as(ends),
        "zero": torch.zeros_like(ends),
        "reference": embed(
            torch.tensor(model.tokenizer(reference + " Spain" * 3).input_ids)
        ).expand_as(ends),
    }[baseline]
    settings = {"baseline": baseline, "reference": reference if baseline == "reference" else ""}
    real = real_positions(BATCH)[..., None]
    for layer, hook_point in enumerate(model.hook_points_at("mlp.post")):
        first, h0, g0 = at(model, hook_point, begin)
        _, h1, g1 = at(model, hook_point, ends)
        for rule, gradient in (("left", g0), ("trapezoid", (g0 + g1) / 2)):
            method = Conductance(steps=1, rule=rule, **settings)
            found = method(model, BATCH, SITES, Target())["mlp.post"]
            expected = ((h1 - h0) * gradient).masked_fill(~real, 0).sum(dim=1)
            assert expected.abs().max() > 1e-2
            assert_close(found.total[:, layer], expected, rtol=1e-5, atol=1e-6)
            assert_close(found.baseline_score[:, layer], first, rtol=1e-5, atol=1e-6)
            assert (found.nodes == 2).all()


def test_both_rules_converge_to_the_same_value_at_their_own_orders():
    model = tiny("gpt2")

    def total(steps, rule):
        with StayDouble():
            method = Conductance(steps=steps, rule=rule)
            return method(model, BATCH, SITES, Target())["mlp.post"].total

    limit = total(2048, "trapezoid")
    errors = {
        rule: [float((total(n, rule) - limit).abs().sum()) for n in (64, 128)]
        for rule in ("left", "trapezoid")
    }
    # Halving the step halves the error of the left rule and quarters that of the trapezoid.
    assert errors["left"][0] / errors["left"][1] == pytest.approx(2, rel=0.1)
    assert errors["trapezoid"][0] / errors["trapezoid"][1] == pytest.approx(4, rel=0.1)
    assert errors["trapezoid"][1] < errors["left"][1] / 10


def test_a_path_of_zero_length_has_no_conductance():
    model = tiny("llama")
    batch = batch_of(FACTS[2:3])
    own = Conductance(steps=4, baseline="reference", reference="a capital is New")
    found = own(model, batch, SITES, Target())["mlp.post"]
    assert not found.total.any() and not found.explained.any()
    other = Conductance(steps=4, baseline="reference", reference="the capital is New")
    assert other(model, batch, SITES, Target())["mlp.post"].total.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "at least one step"),
        ({"baseline": "reference"}, "reference prompt"),
        ({"reference": "the cat"}, "reference prompt"),
    ],
)
def test_invalid_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Conductance(**settings)
