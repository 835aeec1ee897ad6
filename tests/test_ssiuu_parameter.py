"""SSIUU on scalar parameters is Algorithm 1 of arXiv 2509.22263; its variants follow from it."""

import copy
from dataclasses import replace

import pytest
import torch
from steps import flat, nudge, step_of, training_state_of
from tiny import FACTS, FORGET, StayDouble, tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.regularizers.ssiuu import SSIUU
from neuronscope.regularizers.ssiuu_neurons import SSIUUNeurons

BOTH = pytest.mark.parametrize("architecture", ["llama", "gpt2"])
BATCHES = (FACTS, FORGET[:3], FACTS[:2])
"""Facts of three steps."""


def forgets(model, target, facts):
    """Σ F of some facts, from all logits of the Hugging Face model."""
    total = 0.0
    batch = training_state_of(model).asked(tuple(facts))
    for row, (start, end) in enumerate(zip(batch.prompt_lengths, batch.lengths, strict=True)):
        tokens = batch.tokens[row, :end]
        logits = model.hf(input_ids=tokens[None, :-1], use_cache=False).logits[0, start - 1 :]
        p = logits.softmax(dim=-1).gather(-1, tokens[start:, None])
        of = {
            "prob": p.prod(),
            "log-prob": p.log().sum(),
            "log-odds": (p / (1 - p)).log().mean(),
        }
        total = total + of[target]
    return total


def algorithm_1(model, facts, before, target="prob", one_sided=False):
    """R, ∇R with g held constant (Eq. 13, by autograd through φ ⊙ g), and A_t."""
    parameters = list(model.hf.parameters())
    g = torch.autograd.grad(forgets(model, target, facts), parameters)
    a = [phi * slope.detach() for phi, slope in zip(parameters, g, strict=True)]
    if before is None:
        return 0.0, torch.zeros(sum(p.numel() for p in parameters)).double(), detached(a)
    gap = [then - now for then, now in zip(before, a, strict=True)]
    gap = [d.relu() for d in gap] if one_sided else gap
    r = sum((d[now < 0] ** 2).sum() for d, now in zip(gap, a, strict=True))
    gradient = torch.autograd.grad(r, parameters)
    return float(r.detach()), torch.cat([x.flatten() for x in gradient]), detached(a)


def no_pass(function):
    raise AssertionError("no pass was needed")


def detached(tensors):
    return [tensor.detach() for tensor in tensors]


@BOTH
@pytest.mark.parametrize(
    ("target", "one_sided"),
    [("prob", False), ("prob", True), ("log-prob", False), ("log-odds", False)],
)
def test_it_is_algorithm_1(architecture, target, one_sided):
    model, rule = tiny(architecture), SSIUU(target=target, one_sided=one_sided)
    state, before = rule.start(training_state_of(model), FactSet()), None
    with StayDouble():
        for number, facts in enumerate(BATCHES, start=1):
            penalty, state = rule(step_of(model, facts, number=number), state)
            r, gradient, before = algorithm_1(model, facts, before, target, one_sided)
            assert_close(penalty.value, r, rtol=1e-9, atol=0)
            found, scale = flat(penalty.gradient, model), float(gradient.abs().max())
            assert_close(found, gradient, rtol=1e-12, atol=1e-12 * scale)
            assert (number == 1) == (r == 0.0) == (scale == 0.0)
            nudge(model, seed=number)


@pytest.mark.parametrize("target", ["prob", "log-prob"])
def test_the_term_that_the_paper_omits_is_the_hessian_times_weighted_parameters(target):
    """∇R = v ⊙ g + H (v ⊙ φ); Algorithm 1 has only v ⊙ g, but the slope of R needs both terms."""
    model, rule = tiny("llama"), SSIUU(target=target)
    parameters = list(model.hf.parameters())
    with StayDouble():
        _, state = rule(step_of(model, FACTS), {})
        _, _, anchor = algorithm_1(model, FACTS, None, target)
        nudge(model)
        penalty, _ = rule(step_of(model, FACTS), state)
        kept = flat(penalty.gradient, model)
        with sdpa_kernel(SDPBackend.MATH):
            score = forgets(model, target, FACTS)
            g = torch.autograd.grad(score, parameters, create_graph=True)
        a = [(phi * slope).detach() for phi, slope in zip(parameters, g, strict=True)]
        v = [2 * (now < 0) * (now - then) for now, then in zip(a, anchor, strict=True)]
        weighted = sum((s * w * p.detach()).sum() for s, w, p in zip(g, v, parameters, strict=True))
        omitted = torch.cat([x.flatten() for x in torch.autograd.grad(weighted, parameters)])

        def value(t):
            with torch.no_grad():
                torch.nn.utils.vector_to_parameters(start + t * direction, parameters)
            slopes = torch.autograd.grad(forgets(model, target, FACTS), parameters)
            now = [(phi * slope).detach() for phi, slope in zip(parameters, slopes, strict=True)]
            terms = zip(now, anchor, v, strict=True)
            return sum(((n - then)[w != 0] ** 2).sum() for n, then, w in terms)

        start = torch.nn.utils.parameters_to_vector(parameters).detach()
        direction = torch.randn(len(start), generator=torch.Generator().manual_seed(1)).double()
        h = 3e-5
        slope = (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)
        assert_close(penalty.value, float(value(0.0)), rtol=1e-9, atol=0)
    assert_close((kept + omitted) @ direction, slope, rtol=1e-6, atol=0)
    assert float(omitted.norm()) > float(kept.norm()) > 0


def test_its_figures_are_those_of_the_attributions():
    model, rule = tiny("llama"), SSIUU()
    with StayDouble():
        first, state = rule(step_of(model, FACTS), {})
        _, _, before = algorithm_1(model, FACTS, None)
        nudge(model)
        second, _ = rule(step_of(model, FACTS), state)
        mean = float(forgets(model, "prob", FACTS).detach()) / len(FACTS)
        _, _, after = algorithm_1(model, FACTS, before)
    then, now = (torch.cat([a.flatten() for a in some]) for some in (before, after))
    assert first.figures["negative_share"] == float((then < 0).double().mean())
    assert first.figures["negative_growth"] == 0
    assert_close(second.figures["mean_target"], mean)
    assert_close(second.figures["negative_share"], float((now < 0).double().mean()))
    growth = float(((then - now).relu() * (now < 0)).sum())
    assert_close(second.figures["negative_growth"], growth)
    assert growth > 0


@BOTH
def test_the_division_of_a_step_into_portions_changes_nothing(architecture):
    found = []
    for groups in ((FACTS,), (FACTS[:2], FACTS[2:]), (FACTS[:1], FACTS[1:])):
        model = tiny(architecture)
        with StayDouble():
            _, state = SSIUU()(step_of(model, *groups), {})
            nudge(model)
            penalty, _ = SSIUU()(step_of(model, *groups), state)
        found.append((flat(penalty.gradient, model), penalty))
    # Attention is invariant to key biases, so rounding determines the sign of their influence.
    invariant = sum(
        hook_point.width for hook_point in model.hook_points_at("attn.k") if architecture == "gpt2"
    )
    expected, alike = found[0]
    for gradient, penalty in found[1:]:
        scale = float(gradient.abs().max())
        assert_close(gradient, expected, rtol=1e-9, atol=1e-12 * scale)
        assert_close(penalty.value, alike.value)
        for name, figure in penalty.figures.items():
            few = invariant / len(gradient) if name == "negative_share" else 0
            assert_close(figure, alike.figures[name], rtol=1e-7, atol=few)
    assert scale > 0


@BOTH
def test_with_the_reference_as_anchor_it_is_algorithm_1_with_its_attributions(architecture):
    model, rule = tiny(architecture), SSIUU(anchor="reference")
    before = HookedModel.of(copy.deepcopy(model.hf), model.tokenizer)
    state = rule.start(training_state_of(model), FactSet())
    with StayDouble():
        at_start, state = rule(step_of(model, FACTS), state)
        assert at_start.value == 0
        nudge(model)
        weights = copy.deepcopy(model.hf.state_dict())
        for facts in BATCHES:
            penalty, state = rule(step_of(model, facts), state)
            _, _, anchor = algorithm_1(before, facts, None)
            r, gradient, _ = algorithm_1(model, facts, anchor)
            assert_close(penalty.value, r)
            atol = 1e-12 * float(gradient.abs().max())
            assert_close(flat(penalty.gradient, model), gradient, rtol=1e-9, atol=atol)
            assert r > 0
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.hf.state_dict().items())


def test_a_failing_pass_restores_the_weights():
    model, rule = tiny("gpt2"), SSIUU(anchor="reference")
    state = rule.start(training_state_of(model), FactSet())
    nudge(model)
    weights = copy.deepcopy(model.hf.state_dict())
    step, calls = step_of(model, FACTS), []

    def gradient(function):
        calls.append([p.detach().clone() for p in model.hf.parameters()])
        if len(calls) == 2:
            raise InterruptedError("in the middle of a pass")
        return step.gradient(function)

    with pytest.raises(InterruptedError):
        rule(replace(step, gradient=gradient), state)
    assert not any(torch.equal(a, b) for a, b in zip(*calls, strict=True) if a.dim() > 1)
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.hf.state_dict().items())


def test_a_moving_average_with_decay_0_is_the_previous_step():
    found = {}
    for name, rule in (
        ("previous", SSIUU()),
        ("ema 0", SSIUU(anchor="ema", decay=0.0)),
        ("ema .5", SSIUU(anchor="ema", decay=0.5)),
    ):
        model, state, values = tiny("llama"), {}, []
        for number, facts in enumerate(BATCHES):
            penalty, state = rule(step_of(model, facts), state)
            values.append(penalty.value)
            nudge(model, seed=number)
        found[name] = values
    assert found["ema 0"] == found["previous"]
    assert found["ema .5"][:2] == found["previous"][:2]
    assert found["ema .5"][2] != found["previous"][2] != 0


def test_the_moving_average_is_that_of_the_attributions():
    model, rule = tiny("llama"), SSIUU(anchor="ema", decay=0.75)
    state, averages = {}, None
    with StayDouble():
        for number, facts in enumerate(BATCHES):
            r, _, now = algorithm_1(model, facts, averages)
            penalty, state = rule(step_of(model, facts), state)
            assert_close(penalty.value, r)
            averages = (
                [0.75 * old + 0.25 * new for old, new in zip(averages, now, strict=True)]
                if averages
                else now
            )
            nudge(model, seed=number)
    assert r > 0


def test_the_gradient_of_the_objective_saves_a_pass_and_changes_nothing():
    model, rule = tiny("llama"), SSIUU(target="log-prob")
    assert rule.wants_log_prob_gradient
    assert not SSIUU().wants_log_prob_gradient
    assert not SSIUUNeurons(target="log-prob").wants_log_prob_gradient
    own, held = {}, {}
    for _ in range(2):
        plain = step_of(model, FACTS)
        g = plain.gradient(lambda portion: forgets(model, "log-prob", portion.facts))
        step = replace(plain, log_prob_gradient=g, gradient=no_pass)
        first, own = rule(plain, own)
        second, held = rule(step, held)
        found, expected = flat(second.gradient, model), flat(first.gradient, model)
        assert_close(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max() + 1))
        nudge(model)
    assert expected.abs().max() > 0


def test_frozen_parameters_are_not_penalized():
    model, part = tiny("llama"), tiny("llama")
    for name, parameter in part.hf.named_parameters():
        parameter.requires_grad_("layers.1" in name)
    found = []
    for one in (model, part):
        _, state = SSIUU()(step_of(one, FACTS), {})
        nudge(one)
        found.append(SSIUU()(step_of(one, FACTS), state)[0].gradient)
    assert found[1] and all("layers.1" in name for name in found[1])
    for name, gradient in found[1].items():
        assert_close(gradient, found[0][name])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strength": -1.0}, "strength=-1.0"),
        ({"relative": -0.1}, "relative=-0.1"),
        ({"decay": 1.0}, "decay of 0 or more and below 1"),
    ],
)
def test_meaningless_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words) as raised:
        SSIUU(**options)
    assert "\n" not in str(raised.value)
