"""Contract tests of all objectives; new files in the folder are covered automatically."""

import copy
from dataclasses import fields, replace

import pytest
import torch
from objectives_example import (
    both,
    gradients,
    objective_of,
    portion_of,
    training_state_of,
    value,
    with_retain,
)
from tiny import FACTS, RETAIN, StayDouble
from torch import nn
from torch.testing import assert_close

from neuronscope._discover import method_names
from neuronscope.facts.fact import FactSet

NAMES = method_names("objectives")
HALVES = ("forget", "retain")
SPLITS = FactSet(forget=FACTS, retain=RETAIN[:4])

every_objective = pytest.mark.parametrize("name", NAMES)
several_architectures = pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen2", "phi3"])


@every_objective
@several_architectures
def test_terms_are_finite_numbers_that_move_the_model(name, architecture):
    training, objective = training_state_of(architecture), with_retain(name)
    portion = portion_of(training, FACTS)
    for half, terms in both(objective, training, portion).items():
        assert set(terms) == ({half} if half == "forget" or objective.needs_retain else set())
        for term in terms.values():
            assert term.shape == () and term.dtype == torch.float64 and term.isfinite()
            grads = gradients(training, terms)
            assert all(gradient.isfinite().all() for gradient in grads.values())
            # A random model answers nothing, so KLUE considers every fact forgotten.
            moved = any(gradient.abs().max() > 0 for gradient in grads.values())
            assert moved == (name != "klue" or half == "retain")


@every_objective
@pytest.mark.parametrize("cut", [(2, 4), (1, 4), (1, 2, 3, 4)])
def test_portions_add_up_to_the_step_however_it_is_divided(name, cut):
    training, objective = training_state_of(), with_retain(name)
    edges = list(zip((0, *cut), cut, strict=False))
    with StayDouble():
        whole = both(objective, training, portion_of(training, FACTS))
        parts = [
            both(objective, training, portion_of(training, FACTS[a:b], FACTS)) for a, b in edges
        ]
        for half in HALVES:
            if not whole[half]:
                continue
            expected = gradients(training, whole[half])
            found = [gradients(training, part[half]) for part in parts]
            assert abs(sum(value(part[half]) for part in parts) - value(whole[half])) < 1e-12
            for parameter, gradient in expected.items():
                together = sum(one[parameter] for one in found)
                assert_close(together, gradient, rtol=0, atol=1e-11)


@every_objective
def test_the_reference_gets_no_gradient_and_both_models_stay_unchanged(name):
    training, objective = training_state_of(), with_retain(name)
    training.reference.hf.requires_grad_(True)
    models = (training.model.hf, training.reference.hf)
    weights = [copy.deepcopy(hf.state_dict()) for hf in models]
    required = [[parameter.requires_grad for parameter in hf.parameters()] for hf in models]
    portion = portion_of(training, FACTS)
    terms = both(objective, training, portion)
    objective.where(training, SPLITS)
    sum(term for half in terms.values() for term in half.values()).backward()
    assert any(parameter.grad is not None for parameter in training.model.hf.parameters())
    assert all(parameter.grad is None for parameter in training.reference.hf.parameters())
    for hf, before, flags in zip(models, weights, required, strict=True):
        assert all(torch.equal(hf.state_dict()[key], before[key]) for key in before)
        assert [parameter.requires_grad for parameter in hf.parameters()] == flags
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in hf.modules())


class Counted(nn.Module):
    """Wraps the model and counts its calls."""

    def __init__(self, hf):
        super().__init__()
        self.hf, self.calls = hf, 0

    def forward(self, **inputs):
        self.calls += 1
        return self.hf(**inputs)


@every_objective
def test_the_wrapper_is_called_instead_of_the_model(name):
    training, objective = training_state_of(), with_retain(name)
    portion = portion_of(training, FACTS)
    bare = both(objective, training, portion)
    wrapper, hf_calls = Counted(training.model.hf), []
    training.model.hf.register_forward_pre_hook(lambda module, args: hf_calls.append(1))
    wrapped = replace(training, model=replace(training.model, wrapper=wrapper))
    for half, terms in both(objective, wrapped, portion).items():
        assert_close(terms, bare[half], rtol=0, atol=0)
    assert wrapper.calls == len(hf_calls) > 0


@every_objective
def test_an_objective_declares_whether_it_needs_the_reference(name):
    training = training_state_of()
    portion = portion_of(training, FACTS)
    named = {item.name for item in fields(objective_of(name))}
    terms = ("nll", "kl", "kl_openunlearning", "none") if "retain_term" in named else (None,)
    terms = (*terms, "hidden") if name == "rmu" else terms
    for term in terms:
        for weight in (0.0, 1.0) if "retain_weight" in named else (None,):
            objective = objective_of(name)
            if term is not None:
                objective = replace(objective, retain_term=term)
            if weight is not None:
                objective = replace(objective, retain_weight=weight)
            assert objective.needs_retain == (weight == 1.0 and term != "none")
            if objective.needs_reference:
                with pytest.raises(AssertionError, match="needs_reference"):
                    both(objective, replace(training, reference=None), portion)
            alone = training if objective.needs_reference else replace(training, reference=None)
            assert bool(objective.retain(alone, portion)) == objective.needs_retain
            assert objective.forget(alone, portion)
