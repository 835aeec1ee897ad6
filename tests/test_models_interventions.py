"""Which weights a neuron owns, and what interventions on neurons do to a model."""

import copy
import re

import numpy as np
import pytest
import torch
from tiny import (
    ARCHITECTURES,
    FACTS,
    StayDouble,
    batch_of,
    every_expert,
    real_positions,
    scores_of,
    tiny,
    written,
)
from torch.testing import assert_close

from neuronscope.attribution.ablation import Ablation
from neuronscope.models.hook_points import hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import patched, scaled, set_to, weights_from
from neuronscope.models.neuron_weights import OWNING_SITES, layer_of, module_of, neuron_weights
from neuronscope.models.targets import Target

BATCH = batch_of(FACTS)
SITE = "mlp.post"

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)

OWNED = re.compile(
    r"(q_proj|k_proj|v_proj|qkv_proj|query_key_value|c_attn|c_fc|fc1|fc_in|dense_h_to_4h)"
    r"\.(weight|bias)|(mlp\.(gate|up|down)_proj|gate_up_proj|fc2|fc_out|o_proj|out_proj|c_proj"
    r"|dense|dense_4h_to_h)\.weight|experts\.(gate_up|down)_proj$"
)
"""Parameters of any architecture that neurons of MLP and attention own, by their names."""


def another(model, seed=1):
    """A model of the same shapes with different weights."""
    hf = copy.deepcopy(model.hf)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in hf.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(0.3 * noise)
    return HookedModel.of(hf, model.tokenizer)


def pair(architecture):
    model = tiny(architecture, **every_expert(architecture))
    return model, another(model)


def none_of(model, site=SITE):
    hook_points = model.hook_points_at(site)
    return np.zeros((len(hook_points), hook_points[0].width), dtype=bool)


def some_of(model, site=SITE, seed=0):
    return np.random.default_rng(seed).random(none_of(model, site).shape) < 0.3


def one_of(model, layer, neuron, site=SITE):
    mask = none_of(model, site)
    mask[layer, neuron] = True
    return {site: mask}


def neurons_of(model, site, batch=BATCH):
    """The neurons of a site in every layer, on a batch."""
    kept, hook_points = {}, model.hook_points_at(site)
    tokens = batch.tokens[:, :-1]
    with torch.no_grad(), hooked(keeping(hook_points, kept), tokens.shape[1]):
        model.hf(input_ids=tokens, use_cache=False)
    return [kept[hook_point] for hook_point in hook_points]


@every_architecture
def test_no_entry_of_a_parameter_has_two_owners_and_those_of_neurons_have_one(architecture):
    model = tiny(architecture)
    owners = {name: torch.zeros_like(p) for name, p in model.hf.named_parameters()}
    for own in neuron_weights(model):
        view, places = own.places(owners[own.parameter], torch.ones(own.width, dtype=torch.bool))
        view[places] += 1
        assert own.layer == layer_of(model, own.parameter)
    for name, count in owners.items():
        assert (count == float(bool(OWNED.search(name)))).all(), name


@every_architecture
def test_all_neurons_of_a_site_own_the_same_number_of_weights(architecture):
    model = tiny(architecture)
    for own in neuron_weights(model):
        ones = torch.ones_like(model.hf.get_parameter(own.parameter))
        each = own.per_neuron(ones)
        assert each.shape == (model.hook_points_at(own.site)[0].width,)
        assert (each == each[0]).all() and each[0] > 0


@every_architecture
def test_reading_weights_change_the_neuron_that_owns_them_and_no_other_of_its_layer(architecture):
    model, donor = pair(architecture)
    writing = {
        own.parameter for own in neuron_weights(model) if own.module in ("mlp.down", "attn.o")
    }
    with torch.no_grad():
        for name, parameter in donor.hf.named_parameters():
            if name in writing:
                parameter.copy_(model.hf.get_parameter(name))
    for site in OWNING_SITES:
        width, plain = model.hook_points_at(site)[0].width, neurons_of(model, site)
        for layer, neuron in ((0, 1), (1, width - 1), (1, width // 2)):
            with weights_from(model, donor, one_of(model, layer, neuron, site)):
                now = neurons_of(model, site)
            moved = (now[layer] != plain[layer]).flatten(0, 1).any(dim=0)
            assert moved.nonzero().flatten().tolist() == [neuron]
            assert layer == 0 or torch.equal(now[0], plain[0])


@every_architecture
@pytest.mark.parametrize(("site", "module"), [(SITE, "mlp.down"), ("attn.v", "attn.o")])
def test_zeroing_a_neurons_output_weights_ablates_it(architecture, site, module):
    model = tiny(architecture, **every_expert(architecture))
    width = model.hook_points_at(site)[0].width
    with StayDouble():
        plain = scores_of(model, BATCH)
        for layer, neuron in ((0, 1), (1, width - 1)):
            chosen = one_of(model, layer, neuron, site)
            with scaled(model, chosen, 0.0):
                zeroed = scores_of(model, BATCH)
            emptied = HookedModel.of(copy.deepcopy(model.hf), model.tokenizer)
            (own,) = (
                own for own in neuron_weights(emptied) if (own.module, own.layer) == (module, layer)
            )
            with torch.no_grad():
                mask = torch.from_numpy(chosen[site][layer])
                view, places = own.places(emptied.hf.get_parameter(own.parameter), mask)
                view[places] = 0
            assert_close(scores_of(emptied, BATCH), zeroed, rtol=0, atol=1e-12)
            assert (zeroed - plain).abs().max() > 1e-6


def test_parameters_without_an_owner_are_classified_by_role():
    for architecture, names in {
        "gpt2": {
            "transformer.wte.weight": "embedding",
            "transformer.ln_f.weight": "norm",
            "transformer.h.0.mlp.c_proj.bias": "bias",
        },
        "qwen3": {
            "lm_head.weight": "unembedding",
            "model.layers.1.self_attn.q_norm.weight": "norm",
        },
        "mixtral": {"model.layers.0.mlp.gate.weight": "other"},
    }.items():
        model = tiny(
            architecture, **({"tie_word_embeddings": False} if "qwen" in architecture else {})
        )
        assert {name: module_of(model, name) for name in names} == names


@every_architecture
def test_scaling_a_neuron_by_zero_has_the_exact_effect_of_its_ablation(architecture):
    model = tiny(architecture, **every_expert(architecture))
    width = model.hook_points_at(SITE)[0].width
    places = ((0, 1), (1, width - 2))
    with StayDouble():
        exact = Ablation(neurons=places)(model, BATCH, (SITE,), Target())[SITE].total
        plain = scores_of(model, BATCH)
        for layer, neuron in places:
            with scaled(model, one_of(model, layer, neuron), 0.0):
                effect = plain - scores_of(model, BATCH)
            assert_close(exact[:, layer, neuron], effect, rtol=0, atol=1e-12)
            assert effect.abs().max() > 1e-6


CONSTANT = 0.7

SAYING = {
    "scaled": (lambda model, donor, chosen: scaled(model, chosen, -1.5), lambda own, _: -1.5 * own),
    "set to": (
        lambda model, donor, chosen: set_to(
            model, chosen, {site: np.full(mask.shape, CONSTANT) for site, mask in chosen.items()}
        ),
        lambda own, _: torch.full_like(own, CONSTANT),
    ),
    "patched": (
        lambda model, donor, chosen: patched(model, donor, chosen, BATCH),
        lambda _, theirs: theirs,
    ),
}
"""Interventions on activations: how they are entered, and the activations that they give."""


@pytest.mark.parametrize("saying", SAYING)
@pytest.mark.parametrize("site", ["mlp.post", "mlp.up", "attn.k", "attn.o"])
@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "phi3", "opt"])
def test_interventions_equal_hand_written_hooks(architecture, site, saying):
    model, donor = pair(architecture)
    enter, say = SAYING[saying]
    for layer, hook_point in enumerate(model.hook_points_at(site)):
        mask = some_of(model, site) & (np.arange(model.n_layers) == layer)[:, None]
        own, theirs = neurons_of(model, site)[layer], neurons_of(donor, site)[layer]
        value = torch.where(torch.from_numpy(mask[layer]), say(own, theirs), own)
        with enter(model, donor, {site: mask}):
            found = scores_of(model, BATCH)
        with written({hook_point: value}, real_positions(BATCH)):
            assert_close(scores_of(model, BATCH), found, rtol=0, atol=1e-9)
        # A key's bias, or what no later token reads, may have no effect; values always do.
        assert site == "attn.k" or (found - scores_of(model, BATCH)).abs().max() > 1e-6


def test_patched_everywhere_in_the_last_layer_only_earlier_layers_are_the_models_own():
    model, donor = pair("llama")
    last = {site: none_of(model, site) for site in ("mlp.post", "attn.o")}
    for mask in last.values():
        mask[1] = True
    values = {model.hook_points_at(site)[1]: neurons_of(donor, site)[1] for site in last}
    with patched(model, donor, last, BATCH):
        found = scores_of(model, BATCH)
    with written(values, real_positions(BATCH)):
        assert_close(scores_of(model, BATCH), found)


def test_a_donor_in_training_mode_is_run_without_dropout():
    model, donor = pair("gpt2")
    everyone = {SITE: ~none_of(model)}
    with patched(model, donor, everyone, BATCH):
        expected = scores_of(model, BATCH)
    donor.hf.train()
    with patched(model, donor, everyone, BATCH):
        assert torch.equal(scores_of(model, BATCH), expected)
    assert donor.hf.training


@pytest.mark.parametrize("architecture", ["llama", "qwen3_moe"])
def test_interventions_with_the_models_own_activations_change_nothing(architecture):
    model = tiny(architecture)
    everyone = {site: ~none_of(model, site) for site in ("mlp.post", "attn.v")}
    plain = scores_of(model, BATCH)
    for unchanged in (scaled(model, everyone, 1.0), patched(model, model, everyone, BATCH)):
        with unchanged:
            assert torch.equal(scores_of(model, BATCH), plain)


@every_architecture
def test_restoring_all_neurons_copies_their_parameters(architecture):
    model, donor = pair(architecture)
    by_hand = HookedModel.of(copy.deepcopy(model.hf), model.tokenizer)
    with torch.no_grad():
        for name, parameter in by_hand.hf.named_parameters():
            if OWNED.search(name):
                parameter.copy_(donor.hf.get_parameter(name))
    everyone = {site: ~none_of(model, site) for site in OWNING_SITES}
    with weights_from(model, donor, everyone):
        assert model.fingerprint() == by_hand.fingerprint() != donor.fingerprint()


@every_architecture
def test_inserting_neurons_into_one_model_is_restoring_all_others_in_the_other(architecture):
    before, after = pair(architecture)
    with torch.no_grad():
        for name, parameter in after.hf.named_parameters():
            if not OWNED.search(name):
                parameter.copy_(before.hf.get_parameter(name))
    chosen = {site: some_of(before, site) for site in OWNING_SITES}
    others = {site: ~mask for site, mask in chosen.items()}
    with weights_from(before, after, chosen):
        inserted = before.fingerprint()
    with weights_from(after, before, others):
        assert after.fingerprint() == inserted
    assert inserted not in (before.fingerprint(), after.fingerprint())


def test_restoring_in_parts_is_restoring_at_once():
    model, donor = pair("phi3")
    mask = some_of(model)
    first = mask & (np.arange(mask.shape[1]) < 6)
    with weights_from(model, donor, {SITE: mask}):
        at_once = model.fingerprint()
    with (
        weights_from(model, donor, {SITE: first}),
        weights_from(model, donor, {SITE: mask & ~first}),
    ):
        assert model.fingerprint() == at_once


@pytest.mark.parametrize("fails", [False, True])
@every_architecture
def test_the_model_is_restored_bit_for_bit(architecture, fails):
    model, donor = pair(architecture)
    prints, plain = (model.fingerprint(), donor.fingerprint()), scores_of(model, BATCH)
    chosen = {site: some_of(model, site) for site in OWNING_SITES}
    entries = [enter(model, donor, chosen) for enter, _ in SAYING.values()]
    for intervention in (*entries, weights_from(model, donor, chosen)):
        try:
            with intervention:
                assert not torch.equal(scores_of(model, BATCH), plain)
                if fails:
                    raise RuntimeError("stop")
        except RuntimeError:
            assert fails
        assert (model.fingerprint(), donor.fingerprint()) == prints
        assert torch.equal(scores_of(model, BATCH), plain)


def test_weights_put_into_half_precision_are_rounded_and_the_old_ones_restored_exactly():
    model, donor = tiny("llama", dtype=torch.bfloat16), another(tiny("llama"))
    fingerprint = model.fingerprint()
    with weights_from(model, donor, {SITE: ~none_of(model)}):
        mine = model.hf.get_parameter("model.layers.0.mlp.up_proj.weight")
        theirs = donor.hf.get_parameter("model.layers.0.mlp.up_proj.weight")
        assert torch.equal(mine, theirs.bfloat16())
    assert model.fingerprint() == fingerprint


def test_choices_that_do_not_fit_are_refused_before_anything_is_changed():
    model, donor = pair("llama")
    fingerprint = model.fingerprint()
    with pytest.raises(ValueError, match=r"shape \(2, 12\).*got \(2, 3\)"):
        scaled(model, {SITE: np.zeros((2, 3), dtype=bool)}, 0.0).__enter__()
    with pytest.raises(ValueError, match=r"attn.o own no weights"):
        chosen = {SITE: ~none_of(model), "attn.o": ~none_of(model, "attn.o")}
        weights_from(model, donor, chosen).__enter__()
    with pytest.raises(ValueError, match="cannot be exchanged"):
        narrow = tiny("llama", intermediate_size=8)
        weights_from(model, narrow, {SITE: ~none_of(model)}).__enter__()
    with pytest.raises(ValueError, match=r"shape \(2, 8\)"):
        patched(model, narrow, {SITE: ~none_of(model)}, BATCH).__enter__()
    assert model.fingerprint() == fingerprint
