"""SSIUU on neurons: its gradient is the slope of R, computed without derivatives of A."""

import copy
from dataclasses import dataclass

import pytest
import torch
from steps import attributions, flat, nudge, second_step, step_of, training_state_of
from tiny import FACTS, FORGET, StayDouble, every_expert, tiny
from torch.testing import assert_close

from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target
from neuronscope.regularizers._negative import penalized_change
from neuronscope.regularizers._neuron_gradient import Coefficients, gradient_of
from neuronscope.regularizers.ssiuu_neurons import SSIUUNeurons

TWO = FACTS[1:3]


def slope(value, model, direction, h=3e-5):
    """d value / d direction, by a central difference of fourth order."""
    weights = copy.deepcopy(model.hf.state_dict())

    def at(t):
        place = 0
        with torch.no_grad():
            for name, p in model.hf.named_parameters():
                along = direction[place : place + p.numel()].view(p.shape)
                p.copy_(weights[name] + t * along)
                place += p.numel()
        return value()

    result = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h)
    at(0.0)
    return float(result)


def directions(model, count=2):
    generator = torch.Generator().manual_seed(5)
    size = sum(p.numel() for p in model.hf.parameters())
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


CASES = [
    ("llama", "prob", False),
    ("llama", "log-odds", True),
    ("gpt2", "log-prob", False),
    ("gpt_neox", "log-odds", False),
    ("phi3", "log-prob", True),
    ("gemma2", "log-odds", False),
    ("mixtral", "log-odds", False),
]


@pytest.mark.parametrize(("architecture", "target", "one_sided"), CASES)
def test_the_exact_gradient_is_the_slope_of_the_penalty(architecture, target, one_sided):
    model = tiny(architecture, **every_expert(architecture))
    sites = model.sites
    rule = SSIUUNeurons(sites=sites, target=target, one_sided=one_sided)
    with StayDouble():
        anchor = attributions(model, TWO, sites, target).sum(0)
        penalty = second_step(rule, model, TWO)
        now = attributions(model, TWO, sites, target).sum(0)
        # The set of penalized neurons is fixed at the point where the gradient is taken.
        counted = (now < 0) & (now < anchor) if one_sided else now < 0

        def value():
            a = attributions(model, TWO, sites, target).sum(0)
            return ((a - anchor)[counted] ** 2).sum()

        assert_close(penalty.value, float(value()), rtol=1e-9, atol=0)
        gradient = flat(penalty.gradient, model)
        for direction in directions(model):
            expected = slope(value, model, direction)
            assert_close(float(gradient @ direction), expected, rtol=1e-6, atol=0)
            assert abs(expected) > 0
    assert 0 < counted.double().mean() < 1


@pytest.mark.parametrize(("order", "near"), [("exact", 1e-6), ("finite-difference", 1e-2)])
def test_the_per_item_gradient_is_the_slope_of_each_facts_change(order, near):
    model, sites = tiny("llama"), ("mlp.post", "attn.k")
    rule = SSIUUNeurons(sites=sites, target="log-odds", anchor="reference", reduce="per-item",
        order=order,
    )  # fmt: skip
    with StayDouble():
        anchor = attributions(model, FACTS, sites, "log-odds")
        penalty = second_step(rule, model, FACTS[:1], FACTS[1:])
        counted = attributions(model, FACTS, sites, "log-odds").sum(0) < 0

        def value():
            a = attributions(model, FACTS, sites, "log-odds")
            return ((a - anchor)[:, counted] ** 2).sum()

        assert_close(penalty.value, float(value()), rtol=1e-9, atol=0)
        (direction,) = directions(model, 1)
        found = float(flat(penalty.gradient, model) @ direction)
        assert_close(found, slope(value, model, direction), rtol=near, atol=0)


def test_per_item_equals_batch_sum_only_for_one_fact():
    for facts, same in ((FACTS[:1], True), (FACTS, False)):
        values = []
        for reduce in ("batch-sum", "per-item"):
            rule = SSIUUNeurons(anchor="reference", reduce=reduce)
            values.append(second_step(rule, tiny("llama"), facts).value)
        assert (abs(values[0] - values[1]) < 1e-6 * values[0]) == same


def gradients_by_order(architecture, **options):
    found = {}
    for order in ("exact", "finite-difference", "frozen-gradient"):
        model = tiny(architecture, **every_expert(architecture))
        rule = SSIUUNeurons(order=order, sites=model.sites, **options)
        with StayDouble():
            found[order] = flat(second_step(rule, model, FACTS).gradient, model)
    return found


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "mixtral"])
@pytest.mark.parametrize("target", ["prob", "log-odds"])
def test_the_finite_difference_is_the_exact_gradient_and_the_frozen_one_is_not(
    architecture, target
):
    found = gradients_by_order(architecture, target=target)
    exact, size = found["exact"], float(found["exact"].norm())
    assert float((found["finite-difference"] - exact).norm()) < 1e-2 * size
    frozen = found["frozen-gradient"]
    assert float((frozen - exact).norm()) > 0.3 * size


def test_in_single_precision_the_finite_difference_is_within_a_hundredth():
    found = []
    for order in ("exact", "finite-difference"):
        model = tiny("llama", torch.float32)
        penalty = second_step(SSIUUNeurons(order=order), model, FACTS)
        found.append(flat(penalty.gradient, model))
    assert float((found[1] - found[0]).norm()) < 1e-2 * float(found[0].norm())


@dataclass(frozen=True)
class Logit(Target):
    """The summed logits of the answer tokens, which are linear in the input of the head."""

    def __call__(self, logits, answers):
        at_answer = logits.gather(-1, answers.token[:, None]).squeeze(-1)
        return logits.new_zeros(answers.rows).index_add(0, answers.row, at_answer)


@dataclass(frozen=True)
class OfLogits(SSIUUNeurons):
    @property
    def explained(self):
        return Logit()


def test_the_frozen_gradient_is_exact_if_the_target_is_linear_in_the_neurons():
    """One layer without a norm after it, in which only weights before the neurons are trained."""
    options = {"num_hidden_layers": 1, "_remove_final_layer_norm": True}
    found = {}
    for trained in ("fc1", "fc2"):
        for order in ("exact", "frozen-gradient"):
            model = tiny("opt", **options)
            for name, parameter in model.hf.named_parameters():
                parameter.requires_grad_(f"{trained}.weight" in name)
            rule = OfLogits(order=order)
            found[trained, order] = flat(second_step(rule, model, FACTS).gradient, model)
    assert found["fc1", "exact"].abs().max() > 0
    assert_close(found["fc1", "frozen-gradient"], found["fc1", "exact"])
    assert found["fc2", "exact"].abs().max() > 0
    assert (found["fc2", "frozen-gradient"] == 0).all()


@pytest.mark.parametrize("order", ["exact", "finite-difference", "frozen-gradient"])
@pytest.mark.parametrize("reduce", ["batch-sum", "per-item"])
def test_the_division_of_a_step_into_portions_changes_nothing(order, reduce):
    found = []
    for groups in ((FACTS,), (FACTS[:2], FACTS[2:])):
        model = tiny("llama")
        rule = SSIUUNeurons(order=order, anchor="reference", reduce=reduce, sites=("paper",))
        with StayDouble():
            penalty = second_step(rule, model, *groups)
        found.append((flat(penalty.gradient, model), penalty))
    (one, together), (two, divided) = found
    # The difference of two passes divides the rounding errors of both by a small number.
    near = 1e-8 if order == "finite-difference" else 1e-12
    assert_close(two, one, rtol=0, atol=near * float(one.abs().max()))
    assert_close(divided.value, together.value)
    assert_close(divided.figures, together.figures)
    assert together.value > 0


def test_the_first_step_has_no_penalty_and_the_second_has():
    model, rule = tiny("llama"), SSIUUNeurons()
    first, state = rule(step_of(model, FACTS), {})
    assert first.value == 0 and not first.gradient and first.figures["negative_share"] > 0
    still, _ = rule(step_of(model, FACTS), state)
    assert still.value == 0 and not still.gradient
    nudge(model)
    second, _ = rule(step_of(model, FACTS), state)
    assert second.value > 0 and second.gradient


def test_one_sided_penalizes_only_growth():
    anchor = torch.tensor([-1.0, -3.0, 1.0, 2.0, -1.0])
    now = torch.tensor([-2.0, -2.0, -1.0, 1.0, -1.0])
    for one_sided, expected in ((True, [-1, 0, -2, 0, 0]), (False, [-1, 1, -2, 0, 0])):
        assert penalized_change(now - anchor, now < 0, one_sided).tolist() == expected


def test_one_sided_does_not_penalize_shrinking_negative_influence():
    """Halving the head halves the gradient of every logit, so that no influence on it grows."""
    values = {}
    for one_sided in (True, False):
        for by in (0.5, 2.0):
            options = {"num_hidden_layers": 1, "_remove_final_layer_norm": True}
            model = tiny("opt", tie_word_embeddings=False, **options)
            rule = OfLogits(one_sided=one_sided)
            _, state = rule(step_of(model, FACTS), {})
            with torch.no_grad():
                model.hf.get_output_embeddings().weight.mul_(by)
            values[one_sided, by] = rule(step_of(model, FACTS), state)[0].value
    assert values[True, 0.5] == 0
    assert values[True, 2.0] == values[False, 2.0] > 0
    assert values[False, 0.5] > 0


@pytest.mark.parametrize("order", ["exact", "finite-difference", "frozen-gradient"])
def test_layers_below_the_first_trained_layer_count_but_get_no_gradient(order):
    model, part = tiny("llama"), tiny("llama")
    for name, parameter in part.hf.named_parameters():
        parameter.requires_grad_("layers.1" in name)
    rule = SSIUUNeurons(order=order)
    with StayDouble():
        whole = second_step(rule, model, FACTS)
        found = second_step(rule, part, FACTS)
    assert_close(found.value, whole.value)
    assert found.gradient and all("layers.1" in name for name in found.gradient)
    for name, gradient in found.gradient.items():
        scale = float(whole.gradient[name].abs().max())
        assert_close(gradient, whole.gradient[name], rtol=1e-6, atol=1e-7 * scale)


def test_with_the_reference_as_anchor_the_penalty_starts_at_zero_and_restores_the_weights():
    model, rule = tiny("llama"), SSIUUNeurons(anchor="reference")
    before = HookedModel.of(copy.deepcopy(model.hf), model.tokenizer)
    state = rule.start(training_state_of(model), FactSet())
    with StayDouble():
        assert rule(step_of(model, FACTS), state)[0].value == 0
        nudge(model)
        weights = copy.deepcopy(model.hf.state_dict())
        penalty, state = rule(step_of(model, FORGET), state)
        now, then = (attributions(m, FORGET, ("mlp.post",)).sum(0) for m in (model, before))
    assert_close(penalty.value, float(((now - then)[now < 0] ** 2).sum()))
    assert penalty.value > 0
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.hf.state_dict().items())


def test_the_gradient_is_linear_in_the_coefficients():
    """Σ v_i A_i with v = 1 on one neuron is the A of that neuron; gradients are additive."""
    model, rule = tiny("llama"), SSIUUNeurons(target="log-odds")
    step, found = step_of(model, FACTS), []
    for chosen in ((0, 3), (1, 7), None):
        table = torch.zeros(1, 2, 12, dtype=torch.float64)
        for layer, neuron in [chosen] if chosen else [(0, 3), (1, 7)]:
            table[0, layer, neuron] = 1
        with StayDouble():
            coefficients = Coefficients({"mlp.post": table}, {})
            found.append(flat(gradient_of(rule, step, coefficients, torch.float64), model))
    assert_close(found[0] + found[1], found[2])
    assert min(float(gradient.norm()) for gradient in found) > 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"reduce": "per-item"}, "use anchor='reference'"),
        ({"sites": ("mlp.nowhere",)}, "'mlp.nowhere'"),
    ],
)
def test_meaningless_settings_are_refused(options, words):
    with pytest.raises(ValueError, match=words) as raised:
        SSIUUNeurons(**options)
    assert "\n" not in str(raised.value)
