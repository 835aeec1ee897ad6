"""Attributions equal those of Captum for the methods that both implement.

Captum runs on the bare model, one layer at a time, at `mlp.post`, the input of the down-projection.
"""

import pytest
import torch
from captum.attr import (
    IntegratedGradients as CaptumIntegratedGradients,
)
from captum.attr import (
    LayerConductance,
    LayerGradientXActivation,
    LayerIntegratedGradients,
)
from tiny import FACTS, batch_of, real_positions, tiny
from torch.testing import assert_close

from neuronscope.attribution._baselines import activations
from neuronscope.attribution.conductance import Conductance
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.models.targets import Answers, Target

BATCH = batch_of(FACTS)
TOKENS = BATCH.tokens[:, :-1]
REAL = real_positions(BATCH)
REFERENCE = "the dog of Peru is called city"
"""A prompt with as many tokens as the batch's longest row."""

STEPS = 16
NEVER = 1e9
"""A tolerance at which no path is divided."""

SITES = ("mlp.post",)


@pytest.fixture(params=["gpt2", "llama"])
def model(request):
    model = tiny(request.param)
    model.hf.requires_grad_(True)
    assert len(model.tokenizer(REFERENCE).input_ids) == TOKENS.shape[1]
    return model


def target_of(model, copies=1, **inputs):
    """The log-odds of each row; the batch may be repeated, as Captum does."""
    rows = torch.arange(len(TOKENS)).repeat(copies)
    answers = Answers.of(BATCH).take(rows)
    logits = model.hf(**inputs, use_cache=False).logits
    return Target()(logits[answers.row, answers.position], answers)


def from_tokens(model):
    return lambda tokens: target_of(model, len(tokens) // len(TOKENS), input_ids=tokens)


def from_embeddings(model):
    return lambda rows: target_of(model, len(rows) // len(TOKENS), inputs_embeds=rows)


def embedded(model, tokens):
    return model.hf.get_input_embeddings()(tokens).detach()


def reference_tokens(model):
    return torch.tensor([model.tokenizer(REFERENCE).input_ids]).expand_as(TOKENS)


def check(model, method, captum):
    """All three reductions over positions, layer by layer, equal those of Captum's results."""
    found = method(model, BATCH, SITES, Target())["mlp.post"]
    for layer, hook_point in enumerate(model.hook_points_at("mlp.post")):
        theirs = captum(hook_point.module).detach()
        scale = theirs.abs().max()
        assert scale > 1e-2
        away = ~REAL[..., None]
        for ours, expected in (
            (found.total, theirs.masked_fill(away, 0).sum(dim=1)),
            (found.positive, theirs.masked_fill(away, -torch.inf).amax(dim=1)),
            (found.negative, theirs.masked_fill(away, torch.inf).amin(dim=1)),
        ):
            assert_close(ours[:, layer], expected, rtol=0, atol=1e-6 * float(scale))
    return found


def test_gradient_x_activation_equals_captums(model):
    def captum(layer):
        method = LayerGradientXActivation(from_embeddings(model), layer)
        return method.attribute(embedded(model, TOKENS), attribute_to_layer_input=True)

    check(model, GradientXActivation(), captum)


def test_integrated_gradients_from_a_reference_prompt_equal_captums(model):
    def captum(layer):
        return LayerIntegratedGradients(from_tokens(model), layer).attribute(
            TOKENS,
            baselines=reference_tokens(model),
            n_steps=STEPS,
            method="gausslegendre",
            attribute_to_layer_input=True,
        )

    ours = IntegratedGradients(
        steps=STEPS, tolerance=NEVER, baseline="reference", reference=REFERENCE
    )
    found = check(model, ours, captum)
    assert (found.nodes == STEPS).all()


def test_integrated_gradients_from_zero_equal_captums_on_injected_neurons(model):
    def captum(layer):
        hook_point = next(
            hook_point
            for hook_point in model.hook_points
            if hook_point.module is layer and hook_point.side == "input"
        )
        (neurons,) = activations(model, TOKENS, (hook_point,))

        def inject(values):
            hook = layer.register_forward_pre_hook(lambda _, args: (values,))
            copies = len(values) // len(TOKENS)
            scores = target_of(model, copies, input_ids=TOKENS.repeat(copies, 1))
            hook.remove()
            return scores

        # Padding moves too, which has no effect because it predicts no answer.
        return CaptumIntegratedGradients(inject).attribute(
            neurons, baselines=0, n_steps=STEPS, method="gausslegendre"
        )

    check(model, IntegratedGradients(steps=STEPS, tolerance=NEVER, baseline="zero"), captum)


@pytest.mark.parametrize("baseline", ["zero", "mean", "reference"])
def test_conductance_by_the_left_rule_equals_captums(model, baseline):
    every_token = torch.arange(model.vocabulary)
    begin = {
        "zero": torch.zeros_like(embedded(model, TOKENS)),
        "mean": embedded(model, every_token).mean(dim=0).expand_as(embedded(model, TOKENS)),
        "reference": embedded(model, reference_tokens(model)),
    }[baseline]

    def captum(layer):
        # This rule of Captum has the points k / n of the path, and always uses the left end.
        return LayerConductance(from_embeddings(model), layer).attribute(
            embedded(model, TOKENS),
            baselines=begin,
            n_steps=STEPS,
            method="riemann_trapezoid",
            attribute_to_layer_input=True,
        )

    reference = REFERENCE if baseline == "reference" else ""
    ours = Conductance(steps=STEPS, rule="left", baseline=baseline, reference=reference)
    check(model, ours, captum)
