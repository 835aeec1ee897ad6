"""Identities of the losses: limits, equivalent computations, and values computed by hand."""

from math import log

import pytest
import torch
from objectives_example import REFUSAL, gradients, objective_of, portion_of, training_state_of
from tiny import FACTS
from torch.testing import assert_close

from neuronscope.objectives._passes import (
    answer_lengths,
    fact_log_probs,
    log_ratios,
    logits_at_answers,
)
from neuronscope.objectives._retain import kl_to_reference
from neuronscope.objectives.dpo import dpo
from neuronscope.objectives.gradient_ascent import gradient_ascent
from neuronscope.objectives.idk import idk
from neuronscope.objectives.npo import npo
from neuronscope.objectives.simnpo import simnpo
from neuronscope.objectives.undial import undial
from neuronscope.objectives.wga import wga


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def slope(function, at):
    """The derivative of a sum of independent terms."""
    at = at.clone().requires_grad_()
    return torch.autograd.grad(function(at).sum(), at)[0]


def forget_gradients(training, name, **settings):
    portion = portion_of(training, FACTS)
    return gradients(training, objective_of(name, **settings).forget(training, portion))


def ascent(training, weights=None):
    """The gradient of the mean over facts of log P(y|x), computed directly."""
    portion = portion_of(training, FACTS)
    log_probs = fact_log_probs(training.model, portion.batch)
    weights = torch.ones(len(FACTS)) if weights is None else weights
    return gradients(training, {"": (log_probs * weights).sum() / len(FACTS)})


def assert_same(found, expected, **tolerance):
    assert any(gradient.abs().max() > 1e-3 for gradient in expected.values())
    for name, gradient in expected.items():
        assert_close(found[name], gradient, **tolerance)


def assert_nothing(found):
    for gradient in found.values():
        assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)


def test_every_loss_equals_the_value_computed_by_hand():
    known = double(log(0.5), log(0.125))
    assert_close(gradient_ascent(known, 3), double(-4 * log(2) / 3).squeeze())
    # −β·r = ln 3, and σ(ln 3) = 3/4.
    assert_close(npo(double(-10 * log(3)), 0.1), double(-20 * log(0.75)))
    assert_close(dpo(double(4 * log(3)), double(-6 * log(3)), 0.1), double(-20 * log(0.75)))
    # β·(u − δ) = ln 3 once more.
    assert_close(simnpo(double(log(3) / 2 + 0.5), 2.0, 0.5), double(-log(0.75)))
    assert_close(idk(double(-6.0, -1.0), torch.tensor([3, 2])), double(2.0, 0.5))
    assert_close(wga(known, 2.0), double(0.25 * log(0.5), log(0.125) / 64))
    # The answer is the first of two equally likely tokens; lowering its logit by ln 3 gives 1/4.
    even, uneven = double(0.0, 0.0)[None], double(log(3), 0.0)[None]
    first = torch.tensor([0])
    assert_close(undial(even, even, first, log(3)), double(log(2)))
    expected = -0.25 * log(0.75) - 0.75 * log(0.25)
    assert_close(undial(uneven, even, first, log(3)), double(expected))
    assert_close(kl_to_reference(uneven, even), double(0.5 * log(2 / 3) + 0.5 * log(2)))


def test_npo_becomes_gradient_ascent_as_beta_goes_to_zero():
    training = training_state_of()
    assert_same(forget_gradients(training, "npo", beta=1e-9), ascent(training))


def test_npo_weights_each_fact_by_its_remaining_probability():
    ratios = double(-30.0, -3.0, 0.0, 2.0)
    assert_close(slope(lambda r: npo(r, 0.5), ratios), 2 * torch.sigmoid(0.5 * ratios))
    # The derivative with respect to the NLL is the negative of that, −1 at the start.
    assert_close(slope(lambda nll: npo(-nll, 0.5), double(0.0)), double(-1.0))
    training = training_state_of()
    portion = portion_of(training, FACTS)
    with torch.no_grad():
        ratios = log_ratios(training.model, training.before(), portion.batch)
    assert ratios.abs().max() > 0.5
    assert_same(
        forget_gradients(training, "npo", beta=0.5), ascent(training, 2 * (0.5 * ratios).sigmoid())
    )


@pytest.mark.parametrize("beta", [0.1, 5.0])
def test_npo_begins_as_gradient_ascent(beta):
    training = training_state_of(moved=0.0)
    assert_same(forget_gradients(training, "npo", beta=beta), ascent(training))


def test_npo_and_simnpo_saturate_and_gradient_ascent_does_not():
    lost = double(-1e4)
    assert slope(lambda r: npo(r, 0.1), lost) == 0
    assert slope(lambda r: simnpo(-r, 4.5, 0.0), lost) == 0
    assert slope(lambda r: gradient_ascent(r, 1), lost) == 1


def test_simnpo_becomes_gradient_ascent_per_token_as_beta_goes_to_zero():
    training = training_state_of()
    lengths = answer_lengths(training.asked(FACTS))
    assert lengths.unique().numel() > 1
    found = forget_gradients(training, "simnpo", beta=1e-9, forget_weight=1.0)
    assert_same(found, ascent(training, 1 / lengths))


def test_simnpo_weights_each_fact_by_its_nll_per_token():
    cost = double(0.0, 0.5, 4.0)
    found = slope(lambda u: simnpo(u, 2.0, 0.5), cost)
    assert_close(found, -2 * torch.sigmoid(-2 * (cost - 0.5)))
    assert found[1] == -1


def test_dpo_without_a_preferred_answer_is_npo():
    ratios = double(-30.0, -3.0, 0.0, 2.0)
    assert torch.equal(dpo(torch.zeros_like(ratios), ratios, 0.3), npo(ratios, 0.3))


def test_dpo_raises_the_refusal_as_much_as_it_lowers_the_answer():
    up = slope(lambda r: dpo(r, double(-1.0), 0.3), double(0.5))
    down = slope(lambda r: dpo(double(0.5), r, 0.3), double(-1.0))
    assert_close(up, -down)
    assert up < 0


def test_dpo_compares_the_refusal_with_each_answer():
    training = training_state_of()
    ratios = []
    for fact in FACTS:
        batches = [training.asked((fact,), REFUSAL), training.asked((fact,))]
        assert not torch.equal(batches[0].tokens, batches[1].tokens)
        ratios.append([log_ratios(training.model, training.before(), one) for one in batches])
    expected = sum(dpo(*pair, 0.1).sum() for pair in ratios) / len(FACTS)
    found = objective_of("dpo").forget(training, portion_of(training, FACTS))["forget"]
    assert_close(found, expected)


def test_idk_is_the_cross_entropy_of_the_refusal():
    training = training_state_of()
    logits, answers = logits_at_answers(training.model, training.asked(FACTS, REFUSAL))
    assert len(answers.token) == 2 * len(FACTS)
    expected = torch.nn.functional.cross_entropy(logits, answers.token)
    found = objective_of("idk").forget(training, portion_of(training, FACTS))["forget"]
    assert_close(found, expected)


def test_gradient_difference_without_retain_is_gradient_ascent():
    training = training_state_of()
    portion = portion_of(training, FACTS)
    plain = objective_of("gradient_ascent")
    difference = objective_of("gradient_difference", retain_weight=0.0)
    assert torch.equal(
        difference.forget(training, portion)["forget"], plain.forget(training, portion)["forget"]
    )
    assert difference.retain(training, portion) == {} and not difference.needs_retain
    assert objective_of("gradient_difference").retain(training, portion)


def test_gradient_ascent_is_the_negative_cross_entropy():
    training = training_state_of()
    portion = portion_of(training, FACTS)
    labels = portion.batch.tokens.where(portion.batch.answer_mask, -100)
    expected = training.model.hf(input_ids=portion.batch.tokens, labels=labels).loss
    found = objective_of("gradient_ascent").forget(training, portion)["forget"]
    kept = objective_of("gradient_difference").retain(training, portion)["retain"]
    # transformers computes its loss in single precision.
    assert_close(found.float(), -expected.float())
    assert torch.equal(kept, -found)


def test_wga_without_weights_is_gradient_ascent():
    training = training_state_of()
    weightless = forget_gradients(training, "wga", beta=0.0)
    assert_same(weightless, forget_gradients(training, "gradient_ascent"))


def test_wga_with_beta_one_has_the_gradient_of_the_probability():
    log_probs = double(-0.1, -2.0, -9.0)
    assert_close(slope(lambda x: wga(x, 1.0), log_probs), slope(torch.exp, log_probs))


def test_undial_with_beta_zero_is_distillation_without_gradient_at_the_start():
    training = training_state_of(moved=0.0)
    assert_nothing(forget_gradients(training, "undial", beta=0.0))
    lowered = forget_gradients(training, "undial")
    assert max(gradient.abs().max() for gradient in lowered.values()) > 1e-3
    elsewhere = forget_gradients(training_state_of(), "undial", beta=0.0)
    assert max(gradient.abs().max() for gradient in elsewhere.values()) > 1e-3


def test_undial_is_minimal_where_only_the_answer_is_lowered():
    torch.manual_seed(0)
    before, token = torch.randn(3, 7, dtype=torch.float64), torch.tensor([0, 3, 6])
    wanted = before.clone()
    wanted[torch.arange(3), token] -= 4.0
    found = slope(lambda logits: undial(logits, before, token, 4.0), wanted)
    assert_close(found, torch.zeros_like(found))
    least = undial(wanted, before, token, 4.0)
    assert_close(least, torch.distributions.Categorical(logits=wanted).entropy())
    assert (undial(before, before, token, 4.0) > least).all()


@pytest.mark.parametrize("parity", ["corrected", "openunlearning"])
def test_kl_is_zero_at_the_reference_and_positive_elsewhere(parity):
    objective = objective_of("kl_retain", parity=parity)
    training = training_state_of(moved=0.0)
    terms = objective.retain(training, portion_of(training, FACTS))
    assert_close(terms["retain"].detach(), double(0.0).squeeze())
    assert_nothing(gradients(training, terms))
    training = training_state_of()
    terms = objective.retain(training, portion_of(training, FACTS))
    assert terms["retain"] > 1e-3
    assert max(gradient.abs().max() for gradient in gradients(training, terms).values()) > 1e-3


def test_kl_equals_that_of_torch():
    torch.manual_seed(0)
    now, before = torch.randn(2, 4, 7, dtype=torch.float64)
    divergence = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=before), torch.distributions.Categorical(logits=now)
    )
    assert_close(kl_to_reference(now, before), divergence)
    assert (divergence > 0).all()


def test_kl_retain_is_gradient_difference_with_the_kl_retain_term():
    training = training_state_of()
    portion = portion_of(training, FACTS)
    ours, theirs = objective_of("kl_retain"), objective_of("gradient_difference", retain_term="kl")
    assert torch.equal(
        ours.forget(training, portion)["forget"], theirs.forget(training, portion)["forget"]
    )
    assert torch.equal(
        ours.retain(training, portion)["retain"], theirs.retain(training, portion)["retain"]
    )
