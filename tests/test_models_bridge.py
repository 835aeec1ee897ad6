import pytest
import torch
from tiny import ARCHITECTURES, EXPERT_ARCHITECTURES, FACTS, batch_of, tiny, tokenizer

from neuronscope.attribution._baselines import activations
from neuronscope.attribution._record import record
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.models.hooked_model import HookedModel


def logits_of(module, tokens):
    with torch.no_grad():
        found = module(tokens, attention_mask=torch.ones_like(tokens), use_cache=False)
    return found if isinstance(found, torch.Tensor) else found.logits


DENSE = [name for name in ARCHITECTURES if name not in EXPERT_ARCHITECTURES]


@pytest.mark.parametrize("architecture", DENSE)
def test_the_bridge_sees_the_neurons_that_are_recorded(architecture):
    model = tiny(architecture, torch.float32)
    tokens = batch_of(FACTS[:1]).tokens[:, :-1]
    _, cache = model.bridge.run_with_cache(tokens, attention_mask=torch.ones_like(tokens))
    neurons = activations(model, tokens, model.hook_points_at("mlp.post"))
    for number, here in enumerate(neurons):
        theirs = cache[f"blocks.{number}.mlp.hook_post"].view_as(here)
        assert here.abs().max() > 1e-3
        torch.testing.assert_close(here, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_booting_the_bridge_leaves_the_model_unchanged(architecture):
    model = tiny(architecture, torch.float32)
    tokens = batch_of(FACTS[:1]).tokens
    bare = logits_of(model.hf, tokens)
    keys, kernel = list(model.hf.state_dict()), model.hf.config._attn_implementation
    places = {p.data_ptr() for p in model.hf.parameters()}
    shared = {p.data_ptr() for p in model.bridge.parameters()}
    assert list(model.hf.state_dict()) == keys
    assert model.hf.config._attn_implementation == kernel
    assert places <= shared
    assert torch.equal(logits_of(model.hf, tokens), bare)
    # The bridge's attention is another kernel, and sums in another order.
    torch.testing.assert_close(logits_of(model.bridge, tokens), bare, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gpt_neox", "mixtral"])
def test_a_bridge_is_recorded_like_the_model_inside_it(architecture):
    model = tiny(architecture, torch.float32)
    taken = HookedModel.of_bridge(model.bridge, tokenizer())
    assert type(taken.hf) is type(model.hf)
    ours, theirs = (
        record(m, FACTS, GradientXActivation(), progress=False).sites["mlp.post"].total
        for m in (model, taken)
    )
    assert abs(ours).max() > 1e-3
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-4, rtol=1e-3)


def test_record_takes_a_bridge_that_has_a_tokenizer():
    model = tiny("llama", torch.float32)
    bridge = model.bridge
    with pytest.raises(ValueError, match="no tokenizer"):
        record(bridge, FACTS, GradientXActivation(), progress=False)
    bridge.tokenizer = tokenizer()
    recording = record(bridge, FACTS, GradientXActivation(), progress=False)
    assert recording.provenance.notes == ("taken from a bridge",)


def test_a_bridge_that_trained_copies_of_the_weights_is_refused():
    model = tiny("gpt_neox", torch.float32)
    own = {p.data_ptr() for p in model.hf.parameters()}
    copies = [p for p in model.bridge.parameters() if p.data_ptr() not in own]
    assert copies
    with torch.no_grad():
        for parameter in copies:
            parameter.add_(torch.randn_like(parameter))
    with pytest.raises(ValueError, match="logits differ"):
        HookedModel.of_bridge(model.bridge, tokenizer())
