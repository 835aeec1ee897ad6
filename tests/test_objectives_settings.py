"""Contract tests of all objectives: facts, masks, precision and settings."""

from dataclasses import replace

import pytest
import torch
from objectives_example import (
    both,
    gradients,
    objective_of,
    portion_of,
    training_state_of,
    with_retain,
)
from tiny import FACTS, FORGET, RETAIN
from torch.testing import assert_close

from neuronscope._discover import method_names
from neuronscope.facts.fact import FactSet
from neuronscope.objectives._passes import fact_log_probs

NAMES = method_names("objectives")
ASCENTS = {"gradient_ascent", "gradient_difference", "kl_retain"}
SPLITS = FactSet(forget=FACTS, retain=RETAIN[:4])

every_objective = pytest.mark.parametrize("name", NAMES)


@every_objective
def test_facts_without_a_required_split_are_refused(name):
    objective = with_retain(name)
    objective.check(SPLITS)
    with pytest.raises(ValueError, match="no fact of split 'forget'"):
        objective.check(replace(SPLITS, forget=()))
    without = replace(SPLITS, retain=())
    if objective.needs_retain:
        with pytest.raises(ValueError, match="no fact of split 'retain'"):
            objective.check(without)
        replace(objective, retain_weight=0.0).check(without)
    else:
        objective.check(without)


@every_objective
def test_the_weight_of_log_p_is_correct(name):
    training, objective = training_state_of(), with_retain(name)
    objective = replace(objective, forget_weight=0.3)
    portion = portion_of(training, FACTS[2:], FACTS)
    weight = objective.log_prob_weight(portion)
    assert (weight is not None) == (name in ASCENTS)
    if weight is not None:
        assert_close(weight, 0.3 / 5)
        terms = objective.forget(training, portion)
        log_probs = fact_log_probs(training.model, portion.batch)
        assert_close(sum(terms.values()), weight * log_probs.sum())


@every_objective
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "phi3", "mixtral"])
def test_masks_consist_of_ones_and_zeros(name, architecture):
    training = training_state_of(architecture)
    masks = objective_of(name).where(training, SPLITS)
    if masks is None:
        return
    parameters = dict(training.model.hf.named_parameters())
    assert 0 < len(masks) < len(parameters)
    for parameter, mask in masks.items():
        assert mask.shape == parameters[parameter].shape and mask.dtype == torch.float64
        assert ((mask == 0) | (mask == 1)).all() and not mask.requires_grad
    assert any(mask.any() for mask in masks.values())
    again = objective_of(name).where(training, SPLITS)
    assert all(torch.equal(mask, again[parameter]) for parameter, mask in masks.items())


@every_objective
def test_losses_of_half_precision_models_are_in_single_precision(name):
    training, objective = training_state_of(dtype=torch.bfloat16), with_retain(name)
    portion = portion_of(training, FACTS)
    for terms in both(objective, training, portion).values():
        assert all(term.dtype == torch.float32 and term.isfinite() for term in terms.values())


@every_objective
def test_losses_are_finite_if_probabilities_underflow(name):
    training, objective = training_state_of(dtype=torch.float32), with_retain(name)
    head = training.model.hf.get_output_embeddings().weight
    with torch.no_grad():
        head *= 300
    portion = portion_of(training, FACTS)
    assert (fact_log_probs(training.model, portion.batch).exp() == 0).any()
    for terms in both(objective, training, portion).values():
        assert all(term.isfinite() for term in terms.values())
        if terms:
            found = gradients(training, terms)
            assert all(gradient.isfinite().all() for gradient in found.values())


@every_objective
def test_a_weight_multiplies_its_half(name):
    training, objective = training_state_of(), with_retain(name)
    portion = portion_of(training, FACTS)
    once = both(objective, training, portion)
    thrice = replace(objective, forget_weight=3 * objective.forget_weight)
    assert_close(thrice.forget(training, portion)["forget"], 3 * once["forget"]["forget"])
    if objective.needs_retain:
        twice = replace(objective, retain_weight=2 * objective.retain_weight)
        assert_close(twice.retain(training, portion)["retain"], 2 * once["retain"]["retain"])


@pytest.mark.parametrize(
    ("name", "setting", "word"),
    [
        *((name, {"forget_weight": 0.0}, "forget_weight of more than 0") for name in NAMES),
        *(
            (name, {"retain_weight": -1.0}, "retain_weight of 0 or more")
            for name in NAMES
            if name != "gradient_ascent"
        ),
        ("gradient_ascent", {"forget_weight": float("inf")}, "more than 0, got inf"),
        ("npo", {"beta": 0.0}, "beta of more than 0"),
        ("npo", {"beta": float("nan")}, "beta of more than 0, got nan"),
        ("simnpo", {"beta": -1.0}, "beta of more than 0"),
        ("simnpo", {"delta": float("inf")}, "finite delta"),
        ("dpo", {"beta": 0.0}, "beta of more than 0"),
        ("dpo", {"refusal": " "}, "empty text"),
        ("idk", {"refusal": ""}, "empty text"),
        ("wga", {"beta": -0.5}, "beta of 0 or more"),
        ("undial", {"beta": -1.0}, "beta of 0 or more"),
        ("rmu", {"steering": 0.0}, "steering of more than 0"),
        ("rmu", {"layer": -1}, "layer of 0 or more"),
        ("rmu", {"trained_layers": 0}, "1 or more trained_layers"),
        ("klue", {"share": 0.0}, "share above 0"),
        ("klue", {"share": 1.5}, "up to 1"),
        ("klue", {"others": 0}, "1 or more others"),
        ("klue", {"superficial_weight": -1.0}, "superficial_weight of 0 or more"),
    ],
)
def test_settings_out_of_range_are_refused(name, setting, word):
    with pytest.raises(ValueError, match=word) as refused:
        objective_of(name, **setting)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["dpo", "idk"])
def test_a_fact_whose_answer_is_the_refusal_is_refused(name):
    with pytest.raises(ValueError, match=r"'Ann lives': .* refusal 'Cairo '"):
        objective_of(name, refusal="Cairo ").check(FactSet(forget=FORGET[:2], retain=RETAIN[:2]))
    objective_of(name, refusal="Bern").check(FactSet(forget=FORGET[:2], retain=RETAIN[:2]))
