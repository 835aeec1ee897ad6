from dataclasses import replace

import pytest
import torch
from tiny import ARCHITECTURES, tiny
from torch import nn

from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.load_check import check_loaded_model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_passes(architecture):
    check_loaded_model(tiny(architecture, torch.float32))


def layer(model, number=0):
    return model.hf.model.layers[number]


def down(model, number=0):
    return layer(model, number).mlp.down_proj


def rewire(module, forward):
    """Give one module another forward pass."""
    module.forward = forward
    return module


def twice(model):
    bare = layer(model).mlp.forward
    rewire(layer(model).mlp, lambda x: (bare(x) + bare(x)) / 2)
    return "fired 2 times"


def never(model):
    mlp = layer(model).mlp
    rewire(mlp, lambda x: nn.functional.linear(mlp.up_proj(x), mlp.down_proj.weight))
    return "fired 0 times"


def cut(model):
    head = model.hf.lm_head
    bare = head.forward
    rewire(head, lambda x: bare(x.detach()) + 0 * x.sum())
    return "no usable gradient"


def cut_neurons(model):
    """The residual stream passes, but what the neurons write is taken as a constant."""
    bare = down(model, 1).forward
    rewire(down(model, 1), lambda x: bare(x.detach()))
    return "no gradient passes through mlp.down of layer 1"


def severed(model):
    """Nothing that leaves the model has a gradient."""
    bare = model.hf.lm_head.forward
    rewire(model.hf.lm_head, lambda x: bare(x.detach()))
    return "no gradient passes through attn.q of layer 0"


def restless(model):
    """The output changes from call to call, which would be attributed to an identity hook."""
    bare, calls = down(model).forward, []

    def forward(x):
        calls.append(1)
        return bare(x) * (1 + 0.1 * len(calls))

    rewire(down(model), forward)
    return "changed logits"


def unreal(model):
    """The output of the down-projection is not its matrix times the neurons."""
    bare = down(model).forward
    rewire(down(model), lambda x: bare(x) ** 2)
    return "times W_down"


def looking_ahead(model):
    """Padding a row changes its logits."""
    bare = layer(model).mlp.forward
    rewire(layer(model).mlp, lambda x: bare(x) + x.mean(dim=1, keepdim=True))
    return "padded row"


def estranged(model):
    """A bridge over different weights."""
    other = tiny("llama", torch.float32)
    with torch.no_grad():
        other.hf.model.embed_tokens.weight.mul_(2)
    vars(model)["bridge"] = other.bridge
    return "bridge's logits"


def renumbered(model):
    """A bridge of the same function with its neurons in a different order."""
    other = tiny("llama", torch.float32)
    with torch.no_grad():
        mlp = layer(other).mlp
        for matrix in (mlp.gate_proj, mlp.up_proj):
            matrix.weight.copy_(matrix.weight.roll(1, dims=0))
        mlp.down_proj.weight.copy_(mlp.down_proj.weight.roll(1, dims=1))
    vars(model)["bridge"] = other.bridge
    return "bridge's neurons of layer 0"


BROKEN = (
    twice, never, cut, cut_neurons, severed, restless, unreal, looking_ahead, estranged, renumbered
)  # fmt: skip


@pytest.mark.parametrize("breaking", BROKEN, ids=lambda f: f.__name__)
def test_a_broken_model_fails_and_the_reason_is_named(breaking):
    model = tiny("llama", torch.float32)
    reason = breaking(model)
    with pytest.raises(ValueError, match="fails the self-test") as error:
        check_loaded_model(model)
    assert reason in str(error.value)


def reread(model, columns):
    """The model with other columns of its fused matrix as queries, keys and values."""
    hook_points = tuple(
        replace(hook_point, columns=columns[hook_point.site])
        if hook_point.site in columns
        else hook_point
        for hook_point in model.hook_points
    )
    return HookedModel(model.hf, model.tokenizer, hook_points, "tiny")


@pytest.mark.parametrize("architecture", ["codegen", "gpt_neox", "gpt2", "phi3"])
def test_a_misread_fused_matrix_fails(architecture):
    model = tiny(architecture, torch.float32)
    sites = ("attn.q", "attn.k", "attn.v")
    query, key, value = (model.hook_points_at(site)[0].columns for site in sites)
    wrong = [(query, value, key), (query, key, value.flip(0))]
    if architecture != "phi3":  # where queries are as many as keys
        wrong += [(key, query, value)]
    if architecture in ("codegen", "gpt_neox"):  # as if all queries came first
        wrong += [torch.arange(3 * len(query)).split(len(query))]
    for columns in wrong:
        with pytest.raises(ValueError, match=r"change of the first attn|outputs of its heads"):
            check_loaded_model(reread(model, dict(zip(sites, columns, strict=True))))


def test_a_hook_point_with_the_wrong_width_fails():
    model = tiny("llama", torch.float32)
    wrong = tuple(
        replace(hook_point, width=hook_point.width + 1) for hook_point in model.hook_points
    )
    with pytest.raises(ValueError, match="expected once"):
        check_loaded_model(HookedModel(model.hf, model.tokenizer, wrong, "tiny"))


def test_nothing_is_left_on_the_model():
    model = tiny("llama", torch.float32)
    before = {name: value.clone() for name, value in model.hf.state_dict().items()}
    check_loaded_model(model)
    assert all(torch.equal(before[name], value) for name, value in model.hf.state_dict().items())
    for module in model.hf.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert all(p.grad is None and p.requires_grad for p in model.hf.parameters())
