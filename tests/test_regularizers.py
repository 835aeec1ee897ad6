"""Properties of every regularizer, and the controls in closed form."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from steps import flat, nudge, step_of, training_state_of
from test_attribution_contract import state_of
from tiny import FACTS, FORGET, RETAIN, StayDouble, tiny
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from neuronscope._discover import method_class, method_names
from neuronscope.facts.fact import FactSet
from neuronscope.models.hook_points import decoder_layers
from neuronscope.regularizers._base import Regularizer
from neuronscope.regularizers.damping import Damping
from neuronscope.regularizers.ewc import EWC
from neuronscope.regularizers.l2_to_reference import L2ToReference
from neuronscope.regularizers.random_neurons import RandomNeurons
from neuronscope.regularizers.ssiuu import SSIUU
from neuronscope.regularizers.ssiuu_neurons import SSIUUNeurons

SET = FactSet(forget=FORGET, retain=RETAIN)
METHODS = method_names("regularizers")
VARIANTS = {
    "damping": Damping(),
    "ewc": EWC(),
    "l2_to_reference": L2ToReference(),
    "random_neurons": RandomNeurons(count=9),
    "ssiuu": SSIUU(),
    "ssiuu ema": SSIUU(anchor="ema"),
    "ssiuu reference": SSIUU(anchor="reference", target="log-odds"),
    "ssiuu_neurons": SSIUUNeurons(sites=("mlp.post", "attn.k")),
    "ssiuu_neurons reference": SSIUUNeurons(anchor="reference", reduce="per-item"),
}

every_variant = pytest.mark.parametrize("rule", VARIANTS.values(), ids=VARIANTS)


def test_every_method_is_among_the_variants():
    found = {name: method_class("regularizers", name, Regularizer) for name in METHODS}
    assert {name: type(VARIANTS[name]) for name in METHODS} == found
    assert len(METHODS) >= 5


@every_variant
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_every_regularizer_penalizes_a_moved_model_and_changes_nothing(rule, architecture):
    model = tiny(architecture)
    rule.check(model)
    before = state_of(model)
    state = rule.start(training_state_of(model), SET)
    first, state = rule(step_of(model, FACTS), state)
    assert first.value == 0 and not flat(first.gradient, model).any()
    nudge(model)
    weights, remembered = copy.deepcopy(model.hf.state_dict()), set(state)
    second, after = rule(step_of(model, FACTS, number=2), state)
    assert second.value > 0 and flat(second.gradient, model).any()
    assert not any(gradient.requires_grad for gradient in second.gradient.values())
    parameters = dict(model.hf.named_parameters())
    for name, gradient in second.gradient.items():
        assert gradient.shape == parameters[name].shape and gradient.isfinite().all()
    assert first.figures.keys() == second.figures.keys()
    assert state_of(model) == before
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.hf.state_dict().items())
    assert remembered == after.keys()


@every_variant
def test_a_saved_memory_continues_like_the_original(rule, tmp_path):
    model = tiny("llama")
    _, state = rule(step_of(model, FACTS), rule.start(training_state_of(model), SET))
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, tmp_path / "state")
    nudge(model)
    expected, after = rule(step_of(model, FORGET), state)
    found, after_load = rule(step_of(model, FORGET), load_file(tmp_path / "state"))
    assert found.value == expected.value > 0 and found.figures == expected.figures
    assert torch.equal(flat(found.gradient, model), flat(expected.gradient, model))
    assert after.keys() == after_load.keys()
    assert all(torch.equal(tensor, after_load[key]) for key, tensor in after.items())


@every_variant
def test_the_memory_does_not_change_with_the_weights(rule):
    model = tiny("gpt2")
    _, state = rule(step_of(model, FACTS), rule.start(training_state_of(model), SET))
    kept = copy.deepcopy(state)
    nudge(model)
    assert all(torch.equal(tensor, kept[key]) for key, tensor in state.items())


@every_variant
@pytest.mark.parametrize("options", [{"strength": -1.0}, {"relative": -0.5}])
def test_a_negative_strength_is_refused(rule, options):
    with pytest.raises(ValueError, match="of 0 or more"):
        replace(rule, **options)


@every_variant
def test_no_regularizer_needs_a_second_model(rule):
    assert not rule.needs_reference


@pytest.fixture
def one_process():
    """A process group of one process, so that a model can be sharded."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    distributed.destroy_process_group()


SHARDED = VARIANTS | {
    "ssiuu_neurons finite difference": SSIUUNeurons(order="finite-difference"),
    "ssiuu_neurons frozen": SSIUUNeurons(order="frozen-gradient"),
}


@pytest.mark.parametrize("rule", SHARDED.values(), ids=SHARDED)
def test_a_sharded_model_gives_the_same_or_is_refused(rule, one_process):
    found = []
    for sharded in (False, True):
        model = tiny("llama")
        if sharded:
            for layer in decoder_layers(model.hf):
                fully_shard(layer, mesh=one_process)
            fully_shard(model.hf, mesh=one_process)
        if sharded and passes_twice(rule):
            with pytest.raises(ValueError, match="use order='finite-difference'"):
                rule.start(training_state_of(model), SET)
            return
        state = rule.start(training_state_of(model), SET)
        _, state = rule(step_of(model, FACTS), state)
        nudge(model)
        penalty, _ = rule(step_of(model, FACTS, number=2), state)
        gradient = {name: whole(part) for name, part in penalty.gradient.items()}
        found.append((penalty.value, penalty.figures, gradient))
    assert found[0][0] > 0
    assert_close(found[1], found[0])


def passes_twice(rule):
    """Whether the rule makes two backward passes through one graph."""
    return vars(rule).get("order", "finite-difference") != "finite-difference"


def whole(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def vector(model):
    return torch.cat([p.detach().flatten() for p in model.hf.parameters()])


def test_l2_is_the_squared_distance_from_the_start():
    model, rule = tiny("llama"), L2ToReference()
    start, state = vector(model), rule.start(training_state_of(model), SET)
    for seed in range(2):
        nudge(model, seed=seed)
        penalty, state = rule(step_of(model, FACTS), state)
        difference = vector(model) - start
        assert_close(penalty.value, float(difference @ difference))
        assert_close(flat(penalty.gradient, model), 2 * difference)


def test_damping_is_the_squared_norm_of_the_last_update():
    model, rule = tiny("llama"), Damping()
    first, state = rule(step_of(model, FACTS), rule.start(training_state_of(model), SET))
    assert not first.gradient and first.value == 0
    for seed in range(2):
        last = vector(model)
        nudge(model, seed=seed)
        update = vector(model) - last
        penalty, state = rule(step_of(model, FACTS), state)
        assert_close(penalty.value, float(update @ update))
        assert_close(flat(penalty.gradient, model), 2 * update)


def test_damped_gradient_descent_is_gradient_descent_with_negative_momentum():
    """For a loss with constant gradient c, step n is −ηc Σ_k (−2ηλ)^k, k < n."""
    rate, strength, steps = 0.01, 20.0, 5
    model, rule = tiny("gpt2"), Damping(strength=strength)
    push = 1e-3 * torch.randn(len(vector(model)), generator=torch.Generator().manual_seed(0))
    push = push.double()
    state = rule.start(training_state_of(model), SET)
    for number in range(1, steps + 1):
        before = vector(model)
        penalty, state = rule(step_of(model, FACTS, number=number), state)
        update = -rate * (push + strength * flat(penalty.gradient, model))
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(before + update, model.hf.parameters())
        share = sum((-2 * rate * strength) ** k for k in range(number))
        assert_close(vector(model) - before, -rate * share * push)


def log_prob_slopes(model, fact):
    """∂log P(y|x)/∂φ of one fact, from all logits of the Hugging Face model."""
    batch = training_state_of(model).asked((fact,))
    start = batch.prompt_lengths[0]
    logits = model.hf(input_ids=batch.tokens[:, :-1], use_cache=False).logits[0, start - 1 :]
    p = logits.log_softmax(dim=-1).gather(-1, batch.tokens[0, start:, None]).sum()
    return torch.cat([g.flatten() for g in torch.autograd.grad(p, list(model.hf.parameters()))])


def test_ewc_is_the_distance_weighted_by_squared_gradients_of_retained_facts():
    model, rule = tiny("llama"), EWC()
    retain = (*RETAIN[:3], FACTS[2])
    with StayDouble():
        fisher = torch.stack([log_prob_slopes(model, fact) ** 2 for fact in retain]).mean(0)
        start = vector(model)
        state = rule.start(training_state_of(model), FactSet(forget=FORGET, retain=retain))
    nudge(model)
    penalty, _ = rule(step_of(model, FACTS), state)
    difference = vector(model) - start
    assert_close(penalty.value, float(fisher @ difference**2))
    assert_close(flat(penalty.gradient, model), 2 * fisher * difference)
    assert penalty.value > 0


def test_ewc_samples_retained_facts_and_needs_some():
    model = tiny("llama")
    fishers = []
    for rule in (EWC(fisher_facts=3), EWC(fisher_facts=3), EWC(fisher_facts=3, seed=1), EWC()):
        state = rule.start(training_state_of(model), SET)
        fishers.append(state["fisher/lm_head.weight"])
    assert torch.equal(fishers[0], fishers[1])
    assert not torch.equal(fishers[0], fishers[2])
    assert not torch.equal(fishers[0], fishers[3])
    with pytest.raises(ValueError, match="split 'retain'"):
        EWC().check_facts(FactSet(forget=FORGET))
    with pytest.raises(ValueError, match="fisher_facts of 1 or more"):
        EWC(fisher_facts=0)


@pytest.mark.parametrize("rule", [L2ToReference(), Damping(), EWC()])
def test_controls_do_not_penalize_frozen_parameters(rule):
    model = tiny("llama")
    for name, parameter in model.hf.named_parameters():
        parameter.requires_grad_("layers.1" in name)
    _, state = rule(step_of(model, FACTS), rule.start(training_state_of(model), SET))
    nudge(model)
    penalty, _ = rule(step_of(model, FACTS), state)
    assert penalty.gradient and all("layers.1" in name for name in penalty.gradient)
