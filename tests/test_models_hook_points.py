"""Hook points are in the right places, as properties of attention, MLPs and weights show."""

import copy

import pytest
import torch
from tiny import (
    ARCHITECTURES,
    EXPERT_ARCHITECTURES,
    FACTS,
    LLAMA_LIKE,
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
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP

from neuronscope.attribution._baselines import activations
from neuronscope.models.hook_points import hooked, place_hook_points
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.sites import SITES, check_sites

BATCH = batch_of(FACTS)
TOKENS = BATCH.tokens[:, :-1]
DENSE = tuple(name for name in ARCHITECTURES if name not in EXPERT_ARCHITECTURES)
PLAIN = ("gpt2", "gpt_neox", "opt", "codegen")


def logits_of(hf):
    with torch.no_grad():
        return hf(input_ids=TOKENS, use_cache=False).logits


def logits_with(model, functions):
    with hooked(functions, TOKENS.shape[1]):
        return logits_of(model.hf)


def neurons_at(model, site, layer=0):
    return activations(model, TOKENS, (model.hook_points_at(site)[layer],))[0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_functions_that_change_nothing_leave_the_logits_bit_equal(architecture):
    model = tiny(architecture)
    bare = logits_of(model.hf)
    assert len(model.hook_points) == 2 * len(model.sites) >= 10
    for hook_point in model.hook_points:
        assert torch.equal(logits_with(model, [(hook_point, lambda neurons: neurons)]), bare)
        assert not torch.equal(logits_with(model, [(hook_point, torch.zeros_like)]), bare)
    everywhere = [(hook_point, torch.clone) for hook_point in model.hook_points]
    assert torch.equal(logits_with(model, everywhere), bare)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_hook_points_read_and_write_like_plain_hooks(architecture):
    model = tiny(architecture)
    everywhere = torch.ones(TOKENS.shape, dtype=torch.bool)
    for hook_point in model.hook_points:
        value = torch.full((1, 1, hook_point.width), 0.5, dtype=torch.float64)
        ours = logits_with(
            model, [(hook_point, lambda neurons, value=value: value.expand_as(neurons))]
        )
        with written({hook_point: value}, everywhere):
            assert_close(ours, logits_of(model.hf))


# What attention does ------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_zero_queries_and_zero_keys_both_give_uniform_attention(architecture):
    model = tiny(architecture)
    queries, keys, values = (model.hook_points_at(f"attn.{letter}")[1] for letter in "qkv")
    with StayDouble():
        uniform = logits_with(model, [(queries, torch.zeros_like)])
        assert_close(logits_with(model, [(keys, torch.zeros_like)]), uniform)
        assert not torch.allclose(logits_of(model.hf), uniform, atol=1e-3)
        assert not torch.allclose(
            logits_with(model, [(values, torch.zeros_like)]), uniform, atol=1e-3
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_first_query_has_no_effect_and_the_first_key_has_a_later_one(architecture):
    model = tiny(architecture)

    def zero_first(neurons):
        return torch.cat([torch.zeros_like(neurons[:, :1]), neurons[:, 1:]], dim=1)

    bare = logits_of(model.hf)
    moved = {
        letter: logits_with(model, [(model.hook_points_at(f"attn.{letter}")[0], zero_first)]) - bare
        for letter in "qkv"
    }
    assert_close(moved["q"], torch.zeros_like(bare), rtol=0, atol=1e-10)
    assert_close(moved["k"][:, 0], torch.zeros_like(bare[:, 0]), rtol=0, atol=1e-10)
    for changed in (moved["k"][:, 1], moved["v"][:, 0], moved["v"][:, 1]):
        assert changed.abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_with_zero_values_attention_outputs_only_its_bias(architecture):
    model = tiny(architecture)
    values, out = model.hook_points_at("attn.v")[0], model.hook_points_at("attn.o")[0]
    seen = []
    bias = dict(out.module.named_parameters()).get("bias", torch.zeros(out.width))
    functions = [(values, torch.zeros_like), (out, lambda neurons: seen.append(neurons) or neurons)]
    logits_with(model, functions)
    assert_close(seen[0], bias.expand_as(seen[0]), check_dtype=False)
    assert neurons_at(model, "attn.o").abs().max() > 0.1


# What an MLP does ---------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", DENSE)
def test_neurons_are_the_activation_of_the_gate_times_the_up_projection(architecture):
    model = tiny(architecture)
    config = model.hf.config.to_dict()
    names = ("hidden_activation", "hidden_act", "activation_function")
    act = ACT2FN[next(config[name] for name in names if config.get(name))]
    up, post = neurons_at(model, "mlp.up"), neurons_at(model, "mlp.post")
    assert ("mlp.gate" in model.sites) == (architecture not in PLAIN)
    if architecture in PLAIN:
        assert_close(post, act(up))
    else:
        assert_close(post, act(neurons_at(model, "mlp.gate")) * up)
        assert not torch.allclose(post, act(up) * neurons_at(model, "mlp.gate"), atol=1e-3)


@pytest.mark.parametrize("architecture", DENSE)
def test_neurons_times_the_down_projection_are_its_output(architecture):
    model = tiny(architecture)
    for layer, hook_point in enumerate(model.hook_points_at("mlp.post")):
        weight = hook_point.module.weight.T if architecture == "gpt2" else hook_point.module.weight
        bias = dict(hook_point.module.named_parameters()).get("bias")
        rebuilt = linear(neurons_at(model, "mlp.post", layer), weight, bias)
        assert_close(neurons_at(model, "mlp.down", layer), rebuilt)


# Shared matrices ----------------------------------------------------------------------------

FUSED = {
    "gpt2": ("transformer.h.1.attn.c_attn", (16, 16, 16)),
    "phi3": ("model.layers.1.self_attn.qkv_proj", (16, 8, 8)),
    "gpt_neox": ("gpt_neox.layers.1.attention.query_key_value", None),
}


@pytest.mark.parametrize("letter", "qkv")
@pytest.mark.parametrize("architecture", FUSED)
def test_zeroed_neurons_are_zeroed_rows_of_the_shared_projection(architecture, letter):
    model = tiny(architecture)
    changed = copy.deepcopy(model.hf)
    name, sizes = FUSED[architecture]
    module = changed.get_submodule(name)
    weight = module.weight.data.T if architecture == "gpt2" else module.weight.data
    which = "qkv".index(letter)
    for part in (weight, module.bias.data[:, None] if module.bias is not None else weight):
        if sizes is None:
            part.view(4, 3, 4, -1)[:, which] = 0  # as GPTNeoXAttention views it: head, q k v, size
        else:
            part.split(sizes)[which].zero_()
    zeroed = logits_with(model, [(model.hook_points_at(f"attn.{letter}")[1], torch.zeros_like)])
    assert_close(zeroed, logits_of(changed))


def test_codegens_neurons_are_the_queries_keys_and_values_that_its_attention_uses():
    model = tiny("codegen")
    for block in model.hf.transformer.h:
        sine, cosine = block.attn.embed_positions.chunk(2, dim=-1)
        sine.zero_(), cosine.fill_(1)  # no rotation
    with torch.no_grad():
        used = model.hf(input_ids=TOKENS, use_cache=True, output_attentions=True)
    for layer, (cached, attention) in enumerate(
        zip(used.past_key_values.layers, used.attentions, strict=True)
    ):
        query, key, value = (
            neurons_at(model, f"attn.{letter}", layer).unflatten(-1, (8, 2)).transpose(1, 2)
            for letter in "qkv"
        )
        assert_close(cached.keys, key)
        assert_close(cached.values, value)
        scores = query @ key.mT / 2**0.5
        later = torch.ones(TOKENS.shape[1], TOKENS.shape[1], dtype=torch.bool).triu(1)
        expected = scores.masked_fill(later, -torch.inf).softmax(dim=-1)
        # The model computes its scores in single precision.
        assert_close(attention, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("site", "rows"), [("mlp.gate", slice(0, 12)), ("mlp.up", slice(12, 24))])
def test_a_fused_gate_comes_first(site, rows):
    model = tiny("phi3")
    changed = copy.deepcopy(model.hf)
    changed.model.layers[1].mlp.gate_up_proj.weight.data[rows] = 0
    zeroed = logits_with(model, [(model.hook_points_at(site)[1], torch.zeros_like)])
    assert_close(zeroed, logits_of(changed))


# Behaviour of the hooks ---------------------------------------------------------------------


def test_functions_at_one_hook_point_are_applied_in_order_and_all_removed():
    model = tiny("gpt2")
    hook_point = model.hook_points_at("attn.v")[0]
    bare = logits_of(model.hf)
    add = (hook_point, lambda neurons: neurons + 1)
    double = (hook_point, lambda neurons: 2 * neurons)
    both = (hook_point, lambda neurons: 2 * (neurons + 1))
    assert_close(logits_with(model, [add, double]), logits_with(model, [both]))
    assert not torch.allclose(logits_with(model, [add, double]), logits_with(model, [double, add]))
    with pytest.raises(ZeroDivisionError):
        logits_with(model, [add, (hook_point, lambda neurons: neurons / (1 // 0))])
    assert torch.equal(logits_of(model.hf), bare)


def test_the_gradient_at_a_hook_point_is_the_derivative_by_its_neurons():
    model = tiny("llama")
    real = real_positions(BATCH)
    for site in ("mlp.post", "attn.k"):
        hook_point = model.hook_points_at(site)[0]
        leaf = neurons_at(model, site).requires_grad_()
        with StayDouble():
            with hooked([(hook_point, lambda _, leaf=leaf: leaf)], TOKENS.shape[1]):
                score = model.hf(input_ids=TOKENS, use_cache=False).logits.sin()[real].sum()
            (gradient,) = torch.autograd.grad(score, leaf)
            for row, position, neuron in [(0, 0, 0), (1, 3, 5), (3, 1, 7)]:
                ends = []
                for sign in (1, -1):
                    moved = leaf.detach().clone()
                    moved[row, position, neuron] += sign * 1e-5
                    ends.append(
                        logits_with(model, [(hook_point, lambda _, m=moved: m)]).sin()[real].sum()
                    )
                numeric = (ends[0] - ends[1]) / 2e-5
                assert numeric.abs() > 1e-6
                assert_close(gradient[row, position, neuron], numeric, rtol=1e-5, atol=1e-8)


# Refusals -----------------------------------------------------------------------------------

SHARED = LLAMA_LIKE | {"num_experts": 4, "moe_intermediate_size": 6}


@pytest.mark.parametrize(
    ("architecture", "changes", "reason"),
    [
        ("mamba", {"hidden_size": 16, "num_hidden_layers": 2}, "No down-projection found in layer"),
        ("qwen2_moe", SHARED, "both routed experts and neurons"),
        ("gpt_oss", LLAMA_LIKE | {"num_local_experts": 4}, "stores its experts transposed"),
        ("qwen3_moe", {"mlp_only_layers": [0]}, "routed experts in some layers"),
        ("qwen3_moe", {"mlp_only_layers": [0], "intermediate_size": 24}, "experts in some layers"),
    ],
)
def test_a_model_whose_neurons_form_no_single_table_is_refused_with_the_reason(
    architecture, changes, reason
):
    with pytest.raises(ValueError, match=reason):
        HookedModel.of(hf_model(architecture, **changes), tokenizer())


def test_layers_of_different_widths_are_refused():
    hf = hf_model("llama")
    assert place_hook_points(hf)
    wider = copy.deepcopy(hf.config)
    wider.intermediate_size = 20
    hf.model.layers[1].mlp = LlamaMLP(wider)
    with pytest.raises(ValueError, match=r"different widths at mlp.post \(12, 20 neurons\)"):
        place_hook_points(hf)


def test_a_model_without_a_list_of_its_layers_is_refused():
    hf = hf_model("llama")
    hf.config.num_hidden_layers = 3
    with pytest.raises(ValueError, match="no list of 3 decoder layers"):
        place_hook_points(hf)


def test_sites_are_listed_in_one_order_and_others_refused_by_name():
    model = tiny("gpt2")
    assert model.sites == tuple(site for site in SITES if site != "mlp.gate")
    check_sites(model.sites, model.sites, "it")
    for wanted, message in (
        ((), "at least one site"),
        (("mlp.pots",), "Unknown site 'mlp.pots'"),
        (("mlp.gate",), "it has no neurons at 'mlp.gate'"),
        (("attn.q", "attn.q"), "only once"),
    ):
        with pytest.raises(ValueError, match=message):
            check_sites(wanted, model.sites, "it")
