"""Claims about real models, tested on SmolLM2-135M-Instruct. See `README.md` here."""

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

from neuronscope.attribution._baselines import activations, mean_baseline
from neuronscope.attribution.conductance import Conductance
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.loading import load_model, save_model
from neuronscope.models.neutral_facts import neutral_facts
from neuronscope.models.passes import frozen
from neuronscope.models.targets import Answers, Target

pytestmark = pytest.mark.real

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Japan": "Tokyo",
    "Spain": "Madrid", "Egypt": "Cairo", "Austria": "Vienna", "Cuba": "Havana",
}  # fmt: skip
FACTS = [
    Fact(country, f"The capital city of {country} is called", city)
    for country, city in CAPITALS.items()
]
SITE = ("mlp.post",)
LAYERS = (0, 15, 29)


@pytest.fixture(scope="session")
def model(de_quantized, tmp_path_factory):
    """Saved and loaded again, in double precision: rounding does not hide a difference."""
    out = tmp_path_factory.mktemp("real") / "model"
    save_model(de_quantized, out)
    return load_model(out, dtype="float64")


@pytest.fixture(scope="session")
def batch(model):
    return Batch.of([encode(fact, model.tokenizer, "completion") for fact in FACTS], "cpu")


def rows(batch, *index):
    index = torch.tensor(index)
    return Batch(
        batch.tokens[index], batch.prompt_lengths[index], batch.lengths[index], ((),) * len(index)
    )


def test_it_is_trainable_and_knows_its_capitals(model, batch):
    assert all(parameter.requires_grad for parameter in model.hf.parameters())
    answers = Answers.of(batch)
    with frozen(model), torch.no_grad():
        logits = model.hf(batch.tokens[:, :-1]).logits[answers.row, answers.position]
    assert (logits.argmax(dim=-1) == answers.token).float().mean() > 0.7


def test_it_answers_most_neutral_facts(model):
    assert len(neutral_facts(model, most=100)) >= 30


def test_gradients_reach_a_de_quantized_model(de_quantized):
    assert "de-quantized" in de_quantized.notes[0]
    tokens = torch.arange(5, 13)[None]
    de_quantized.hf(tokens, labels=tokens).loss.backward()
    for hook_point in de_quantized.hook_points_at("mlp.post"):
        gradient = hook_point.module.weight.grad
        assert gradient is not None and gradient.abs().max() > 0
    de_quantized.hf.zero_grad(set_to_none=True)


def test_what_was_saved_comes_back_to_the_last_bit(de_quantized, model):
    written = dict(de_quantized.hf.named_parameters())
    for name, parameter in model.hf.named_parameters():
        assert torch.equal(parameter, written.pop(name).double()), name
    assert not written


def test_the_bridge_equals_the_plain_model(de_quantized, batch):
    one = rows(batch, 0).tokens[:, :-1]
    names = [f"blocks.{layer}.mlp.hook_post" for layer in LAYERS]
    mask = torch.ones_like(one)
    with torch.no_grad():
        plain = de_quantized.hf(one, attention_mask=mask).logits
        theirs, cache = de_quantized.bridge.run_with_cache(
            one, attention_mask=mask, names_filter=names
        )
    assert_equal(theirs, plain)
    hook_points = [de_quantized.hook_points_at("mlp.post")[layer] for layer in LAYERS]
    for name, neurons in zip(names, activations(de_quantized, one, hook_points), strict=True):
        assert_equal(cache[name], neurons)


def test_every_layer_adds_up_in_single_precision_or_is_flagged(de_quantized, batch):
    model = de_quantized
    few = rows(batch, 0, 3)
    baseline = mean_baseline(model, [rows(batch, 1, 2, 4, 5, 6, 7)], SITE)
    method = IntegratedGradients()
    found = method.starting_at(baseline)(model, few, SITE, Target())["mlp.post"]
    score = GradientXActivation()  # its silent partner: first order does not add up
    first = score(model, few, SITE, Target())["mlp.post"]
    answers = Answers.of(few)
    with frozen(model), torch.no_grad():
        logits = model.hf(few.tokens[:, :-1]).logits[answers.row, answers.position]
        reached = Target()(logits, answers)
    missing = (reached[:, None] - found.baseline_score - found.explained).abs()
    assert (missing[:, 1:] <= 1e-3).all()
    spent = found.nodes[:, 0] > method.max_steps - 2 * method.steps
    assert ((missing[:, 0] <= 1e-3) | spent).all()
    assert (reached[:, None] - first.baseline_score - first.explained).abs().max() > 1


def score_of(model, batch):
    """The target as a function of token ids or embeddings, for Captum."""
    answers = Answers.of(batch)

    def score(inputs):
        take = answers.take(torch.arange(len(inputs)) % answers.rows)
        ids = inputs.dtype == torch.long
        given = {"input_ids": inputs} if ids else {"inputs_embeds": inputs}
        logits = model.hf(**given, use_cache=False).logits
        return Target()(logits[take.row, take.position], take)

    return score


def lengthened(model, prompt, length):
    tokens = model.tokenizer(prompt).input_ids
    return torch.tensor([(tokens + tokens[-1:] * length)[:length]])


def assert_equal(ours, theirs):
    """To 1e-5 of the layer's largest score."""
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_gradient_x_activation_equals_captum(model, batch):
    one = rows(batch, 0)
    ours = GradientXActivation()(model, one, SITE, Target())["mlp.post"].total
    with frozen(model):
        for layer in LAYERS:
            peer = LayerGradientXActivation(
                score_of(model, one), model.hook_points_at("mlp.post")[layer].module
            )
            embeddings = model.hf.get_input_embeddings()(one.tokens[:, :-1]).requires_grad_()
            theirs = peer.attribute(embeddings, attribute_to_layer_input=True)
            assert_equal(ours[0, layer], theirs[0].sum(dim=0).detach())


def test_integrated_gradients_from_a_prompt_equal_captum(model, batch):
    one, other = rows(batch, 0), FACTS[1].prompt
    method = IntegratedGradients(steps=8, max_steps=8, baseline="reference", reference=other)
    ours = method(model, one, SITE, Target())["mlp.post"].total
    length = one.tokens.shape[1] - 1
    reference = lengthened(model, other, length)
    with frozen(model):
        for layer in LAYERS:
            peer = LayerIntegratedGradients(
                score_of(model, one), model.hook_points_at("mlp.post")[layer].module
            )
            theirs = peer.attribute(
                one.tokens[:, :-1],
                baselines=reference,
                n_steps=8,
                method="gausslegendre",
                attribute_to_layer_input=True,
            )
            assert_equal(ours[0, layer], theirs[0].sum(dim=0).detach())


def test_integrated_gradients_from_silence_equal_captum_over_an_injection(model, batch):
    one = rows(batch, 0)
    method = IntegratedGradients(steps=8, max_steps=8, baseline="zero")
    ours = method(model, one, SITE, Target())["mlp.post"].total
    score = score_of(model, one)
    hook_points = model.hook_points_at("mlp.post")
    neurons = activations(model, one.tokens[:, :-1], hook_points)
    for layer in LAYERS:

        def injected(values, layer=layer):
            hook = hook_points[layer].module.register_forward_pre_hook(lambda _, args: (values,))
            try:
                return score(one.tokens[:, :-1].expand(len(values), -1))
            finally:
                hook.remove()

        with frozen(model):
            theirs = CaptumIntegratedGradients(injected).attribute(
                neurons[layer], n_steps=8, method="gausslegendre"
            )
        assert_equal(ours[0, layer], theirs[0].sum(dim=0).detach())


def test_conductance_equals_captum(model, batch):
    one = rows(batch, 0)
    other = FACTS[1].prompt
    method = Conductance(steps=8, rule="left", baseline="reference", reference=other)
    ours = method(model, one, SITE, Target())["mlp.post"].total
    embed = model.hf.get_input_embeddings()
    embeddings = embed(one.tokens[:, :-1]).detach()
    length = one.tokens.shape[1] - 1
    begin = embed(lengthened(model, other, length)).detach()
    with frozen(model):
        for layer in LAYERS:
            peer = LayerConductance(
                score_of(model, one), model.hook_points_at("mlp.post")[layer].module
            )
            theirs = peer.attribute(
                embeddings,
                baselines=begin,
                n_steps=8,
                method="riemann_trapezoid",
                attribute_to_layer_input=True,
            )
            assert_equal(ours[0, layer], theirs[0].sum(dim=0).detach())


def test_eight_together_equal_each_alone(model, batch):
    together = GradientXActivation()(model, batch, SITE, Target())["mlp.post"]
    for index in range(len(FACTS)):
        alone = GradientXActivation()(model, rows(batch, index), SITE, Target())["mlp.post"]
        for name in ("total", "positive", "negative", "activation"):
            ours, theirs = vars(together)[name][index], vars(alone)[name][0]
            assert_equal(ours, theirs)
