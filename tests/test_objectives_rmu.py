"""RMU: the positions it uses, its target, and which matrices are trained."""

import pytest
import torch
from objectives_example import gradients, objective_of, portion_of, training_state_of
from tiny import FACTS, RETAIN
from torch.testing import assert_close

from neuronscope.facts.fact import FactSet
from neuronscope.models.neuron_weights import layer_of
from neuronscope.objectives._passes import hidden_states
from neuronscope.objectives.rmu import control_vector, rmu

SPLITS = FactSet(forget=FACTS, retain=RETAIN[:4])
DOWN = {
    "gpt2": "transformer.h.{}.mlp.c_proj.weight",
    "llama": "model.layers.{}.mlp.down_proj.weight",
    "phi3": "model.layers.{}.mlp.down_proj.weight",
    "mixtral": "model.layers.{}.mlp.experts.down_proj",
}


def test_the_loss_equals_the_value_computed_by_hand():
    hidden = torch.tensor([[[1.0, 2.0], [9.0, 9.0]], [[0.0, 1.0], [3.0, 4.0]]])
    wanted = torch.tensor([1.0, 0.0])
    marked = torch.tensor([[True, False], [True, True]])
    # Squares: (0 + 4)/2 = 2; then (1 + 1)/2 = 1 and (4 + 16)/2 = 10, whose mean is 5.5.
    assert_close(rmu(hidden, wanted, marked), torch.tensor([2.0, 5.5]))


def test_the_control_vector_has_unit_norm_and_no_negative_entries():
    vector = control_vector(64, 3)
    assert vector.dtype == torch.float64 and (vector >= 0).all()
    assert_close(vector.norm(), torch.ones((), dtype=torch.float64))
    assert torch.equal(vector, control_vector(64, 3))
    assert not torch.equal(vector, control_vector(64, 4))
    # Uniform, not Gaussian: about half of the entries exceed half of the maximum.
    assert 0.4 < (control_vector(4096, 0) > control_vector(4096, 0).max() / 2).double().mean() < 0.6


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2", "phi3", "gemma2", "mixtral"])
def test_hidden_states_are_the_outputs_of_the_layer(architecture):
    model = training_state_of(architecture).model
    tokens = training_state_of(architecture).asked(FACTS).tokens
    expected = model.hf(input_ids=tokens, output_hidden_states=True).hidden_states[1]
    assert torch.equal(hidden_states(model, tokens, 0), expected)


def test_no_logits_are_computed_and_layers_above_keep_no_gradient():
    training = training_state_of()
    tokens, head = training.asked(FACTS).tokens, training.model.hf.get_output_embeddings()
    heads, histories = [], []
    head.register_forward_hook(lambda module, args, output: heads.append(output.numel()))
    training.model.hf.model.layers[1].register_forward_pre_hook(
        lambda module, args: histories.append(args[0].requires_grad)
    )
    assert hidden_states(training.model, tokens, 0).requires_grad
    training.model.hf(input_ids=tokens)
    assert heads == [0, tokens.numel() * training.model.vocabulary]
    assert histories == [False, True]


def test_no_hook_is_left():
    training = training_state_of()
    hidden_states(training.model, training.asked(FACTS).tokens, 0)
    assert not any(m._forward_hooks for m in training.model.hf.modules())
    with pytest.raises(IndexError):
        hidden_states(training.model, torch.tensor([[10**6]]), 0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in training.model.hf.modules())


def test_the_push_is_at_the_positions_that_predict_the_answer():
    training = training_state_of()
    batch = training.asked(FACTS)
    hidden = hidden_states(training.model, batch.tokens, 0)
    wanted = 20.0 * control_vector(hidden.shape[-1], 0)
    per_fact = []
    for row, start, end in zip(hidden, batch.prompt_lengths, batch.lengths, strict=True):
        # The last token of the prompt predicts the first of the answer.
        per_fact.append((row[start - 1 : end - 1] - wanted).square().mean())
    found = objective_of("rmu").forget(training, portion_of(training, FACTS))
    assert_close(found["forget"], sum(per_fact) / len(FACTS))


@pytest.mark.parametrize("architecture", list(DOWN))
def test_only_down_projections_of_the_layer_and_those_below_are_trained(architecture):
    key = "n_layer" if architecture == "gpt2" else "num_hidden_layers"
    training = training_state_of(architecture, **{key: 5})
    objective = objective_of("rmu", layer=3)
    masks = objective.where(training, SPLITS)
    assert set(masks) == {DOWN[architecture].format(layer) for layer in (1, 2, 3)}
    assert all((mask == 1).all() for mask in masks.values())
    portion = portion_of(training, FACTS)
    for terms in (objective.forget(training, portion), objective.retain(training, portion)):
        found = gradients(training, terms)
        assert all(found[name].abs().max() > 0 for name in masks)
        above = [found[name] for name in found if layer_of(training.model, name) == 4]
        assert above and not any(gradient.any() for gradient in above)


@pytest.mark.parametrize(
    ("depth", "layers"), [(1, [0]), (4, [0]), (8, [0, 1]), (12, [0, 1, 2]), (32, [5, 6, 7])]
)
def test_the_default_layer_ends_the_first_quarter(depth, layers):
    training = training_state_of(num_hidden_layers=depth)
    masks = objective_of("rmu").where(training, SPLITS)
    assert set(masks) == {DOWN["llama"].format(layer) for layer in layers}


def test_a_layer_that_the_model_lacks_is_refused():
    training = training_state_of()
    with pytest.raises(ValueError, match=r"below 2, .* LlamaForCausalLM, got 2"):
        objective_of("rmu", layer=2).where(training, SPLITS)


def test_the_retain_term_is_zero_at_the_reference():
    objective = objective_of("rmu")
    training = training_state_of(moved=0.0)
    terms = objective.retain(training, portion_of(training, FACTS))
    assert terms["retain"] == 0
    assert not any(gradient.any() for gradient in gradients(training, terms).values())
    training = training_state_of()
    assert objective.retain(training, portion_of(training, FACTS))["retain"] > 0


def test_steps_on_the_marked_entries_lead_to_the_vector():
    training, objective = training_state_of(), objective_of("rmu", steering=2.0)
    masks, portion = objective.where(training, SPLITS), portion_of(training, FACTS)
    before = {name: p.detach().clone() for name, p in training.model.hf.named_parameters()}
    losses = []
    for _ in range(20):
        terms = objective.forget(training, portion)
        losses.append(float(terms["forget"].detach()))
        found = gradients(training, terms)
        with torch.no_grad():
            for name, mask in masks.items():
                training.model.hf.get_parameter(name).sub_(0.5 * mask * found[name])
    assert losses[-1] < 0.9 * losses[0]
    for name, parameter in training.model.hf.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in masks)
