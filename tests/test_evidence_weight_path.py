"""The weight path is complete, additive over segments, and finds a planted change."""

import copy

import numpy as np
import pytest
import torch
from tiny import ARCHITECTURES, FORGET, RETAIN, StayDouble, every_expert, tiny

from neuronscope.evidence._base import Case
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import weights_from
from neuronscope.models.targets import Answers, Target

FACTS = FactSet(forget=FORGET[:4], retain=RETAIN[:3])


def changed(model, change):
    """A copy of the model with `change(name, parameter)` applied to every parameter."""
    hf = copy.deepcopy(model.hf)
    with torch.no_grad():
        for name, parameter in hf.named_parameters():
            change(name, parameter)
    return HookedModel.of(hf, model.tokenizer)


def jittered(model, by=0.05):
    generator = torch.Generator().manual_seed(3)

    def change(name, parameter):
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.add_(by * noise * parameter.abs().mean())

    return changed(model, change)


def case_of(before, after):
    return Case(before, after, FACTS, Target())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_contributions_add_up_to_the_drop(architecture):
    with StayDouble():
        before = tiny(architecture, **every_expert(architecture))
        case = case_of(before, jittered(before))
        finding = WeightPath(max_nodes=256)(case)
        drop = (case.at_first.score - case.at_last.score)[case.forget].mean()
    assert finding.figures["drop"] == pytest.approx(drop, abs=1e-12) and abs(drop) > 1e-4
    # OPT's ReLU has kinks: quadrature converges slowly, and a warning says so.
    kinked = architecture == "opt"
    assert finding.value == pytest.approx(drop, rel=1e-2 if kinked else 1e-4)
    assert kinked or not finding.warnings
    modules, neurons = finding.tables["modules"], finding.tables["neurons"]
    assert modules["contribution"].sum() == pytest.approx(finding.value, abs=1e-12)
    owned = modules["module"].str.startswith(("mlp.", "attn."))
    assert neurons["contribution"].sum() == pytest.approx(
        modules.loc[owned, "contribution"].sum(), abs=1e-12
    )
    # The norms add up to that of the whole change, including weights of no neuron.
    mine = dict(case.after.hf.named_parameters())
    square = sum(
        float((p - mine[name]).detach().double().square().sum())
        for name, p in before.hf.named_parameters()
    )
    assert (modules["norm"] ** 2).sum() == pytest.approx(square, rel=1e-9)
    assert set(neurons["site"]) == {"mlp.post", "attn.q", "attn.k", "attn.v"}


def test_contributions_of_two_half_paths_add_up_to_those_of_the_whole_path():
    with StayDouble():
        before = tiny("llama")
        after = jittered(before)
        ends = {name: p.detach().clone() for name, p in after.hf.named_parameters()}
        middle = changed(before, lambda name, p: p.copy_((p + ends[name]) / 2))
        whole, first, second = (
            WeightPath(nodes=32)(case_of(*pair)).tables["neurons"]["contribution"]
            for pair in ((before, after), (before, middle), (middle, after))
        )
    np.testing.assert_allclose(first + second, whole, atol=1e-9)
    assert whole.abs().max() > 1e-4


def test_a_small_change_contributes_its_product_with_the_gradient():
    with StayDouble():
        model = tiny("gpt2")
        after = changed(model, lambda name, p: p.mul_(1 - 1e-5) if "c_proj" in name else None)
        finding = WeightPath()(case_of(model, after))
        model.hf.requires_grad_(True)
        expected, case = 0.0, case_of(model, model)
        for places, batch in case.batches():
            logits = model.hf(batch.tokens[:, :-1]).logits
            answers = Answers.of(batch)
            score = Target()(logits[answers.row, answers.position], answers)
            score[torch.from_numpy(case.forget[places])].mean().backward()
        for name, p in model.hf.named_parameters():
            if "c_proj" in name:
                expected += float((p.grad * p).sum()) * 1e-5
    assert finding.value == pytest.approx(expected, rel=1e-4) and abs(expected) > 1e-8


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mixtral"])
def test_a_change_of_one_neuron_contributes_only_to_that_neuron(architecture):
    with StayDouble():
        before = tiny(architecture, **every_expert(architecture))
        after = tiny(architecture, **every_expert(architecture))
        hook_point = after.hook_points_at("mlp.post")[1]
        other = jittered(before, by=3.0)
        mask = np.zeros((2, hook_point.width), dtype=bool)
        mask[1, 5] = True
        with weights_from(after, other, {"mlp.post": mask}):
            finding = WeightPath(nodes=32)(case_of(before, after))
    neurons = finding.tables["neurons"]
    mine = (neurons["site"] == "mlp.post") & (neurons["layer"] == 1) & (neurons["neuron"] == 5)
    assert mine.sum() == 1
    assert neurons.loc[mine, "contribution"].item() == pytest.approx(finding.value, rel=1e-9)
    assert abs(finding.value) > 1e-5
    assert (neurons.loc[~mine, ["contribution", "norm"]] == 0).all(axis=None)


def test_both_models_are_unchanged_even_if_a_pass_fails(monkeypatch):
    before = tiny("llama")
    after = jittered(before)
    prints = before.fingerprint(), after.fingerprint()
    WeightPath()(case_of(before, after))
    monkeypatch.setattr(Target, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    with pytest.raises(RuntimeError, match="stop"):
        WeightPath()(case_of(before, after))
    assert (before.fingerprint(), after.fingerprint()) == prints
    assert not any(p.requires_grad and p.grad is not None for p in after.hf.parameters())


def test_a_path_that_does_not_add_up_has_a_warning():
    before = tiny("llama")
    after = jittered(before, by=3.0)
    finding = WeightPath(nodes=1, max_nodes=1)(case_of(before, after))
    assert finding.warnings and "more than 0.01 %" in finding.warnings[0]
    assert finding.figures["nodes"] == 1


def test_half_precision_models_are_integrated_in_single_precision():
    before = tiny("llama", dtype=torch.bfloat16)
    after = jittered(before)
    finding = WeightPath()(case_of(before, after))
    assert finding.value == pytest.approx(finding.figures["drop"], rel=1e-3)
    assert before.dtype == after.dtype == torch.bfloat16


@pytest.mark.parametrize("settings", [{"nodes": 0}, {"nodes": 9, "max_nodes": 8}])
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match="nodes"):
        WeightPath(**settings)


def test_models_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="cannot be exchanged"):
        WeightPath()(case_of(tiny("llama"), tiny("llama", intermediate_size=8)))
