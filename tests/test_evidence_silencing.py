"""Silencing: ablating inhibitors recovers suppressed answers, but not erased ones."""

import copy
import math

import numpy as np
import pytest
import torch
from test_evidence_weight_restoration import case_of, jittered, says
from test_planted import IN_ONE_WORD, KNOWN, PLANTED, erased_pair, hidden_pair
from tiny import ARCHITECTURES, tiny

from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.evidence._base import Case, no_progress
from neuronscope.evidence._curves import ranked
from neuronscope.evidence.silencing import OWN, Silencing, _Trial
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target
from neuronscope.results.findings import Finding

SITE = "mlp.post"


def own_rows(finding, control=-1, ranking=OWN):
    curves = finding.tables["curves"]
    return curves[(curves["ranking"] == ranking) & (curves["control"] == control)]


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_answers_return_when_a_planted_inhibitor_is_ablated(architecture, layer):
    case = case_of(*hidden_pair(architecture, layer), KNOWN)
    finding = Silencing()(case)
    assert finding.word == "hidden" and finding.value >= 0.9
    assert finding.figures["silenced"] == 1 and finding.figures["random_most"] <= 1
    # The original model has no such inhibitor: unlearning created it.
    assert abs(finding.figures["recovered_before"]) < 0.2 * finding.figures["recovered"]
    assert not any("Unlearning did not create" in warning for warning in finding.warnings)
    for order, _ in _Trial(Silencing(), case, no_progress).halves():
        assert order[0] == 24 * layer + PLANTED


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_ablation_does_not_recover_erased_answers(architecture, layer):
    finding = Silencing(sizes=(1, 2, 4), largest=0.1)(
        case_of(*erased_pair(architecture, layer), IN_ONE_WORD)
    )
    assert finding.figures["forgotten"] == 10
    assert finding.word == "cannot tell" and finding.value < 0.5


def test_an_inhibitor_of_the_original_model_has_a_warning():
    silent, loud = hidden_pair("gpt2", 0)

    def pushing(strength):
        hf = copy.deepcopy(silent.hf)
        with torch.no_grad():
            pushed = loud.hf.transformer.h[0].mlp.c_proj.weight[PLANTED]
            hf.transformer.h[0].mlp.c_proj.weight[PLANTED] = strength * pushed
        return HookedModel.of(hf, silent.tokenizer)

    # The same neuron is weaker in the original model, so that most answers are still given.
    case = case_of(pushing(0.2), pushing(0.4), KNOWN)
    assert case.forgotten.sum() >= 4
    finding = Silencing()(case)
    assert finding.figures["recovered_before"] > 0.5 * finding.figures["recovered"]
    assert any("Unlearning did not create" in warning for warning in finding.warnings)


def test_each_half_is_tested_with_neurons_chosen_on_the_other_half():
    case = case_of(*hidden_pair("llama", 1), KNOWN)
    folds = _Trial(Silencing(), case, no_progress).halves()
    (_, first), (_, second) = folds
    assert not (first & second).any() and ((first | second) == case.forgotten).all()
    for (order, tested), other in zip(folds, (second, first), strict=True):
        ((places, batch),) = case.batches(other)
        assert not tested[places].any() and other[places].all()
        found = GradientXActivation()(case.after, batch, (SITE,), case.target)[SITE]
        np.testing.assert_array_equal(order, ranked(-found.total.double().mean(0).numpy()))


def test_a_given_ranking_ablates_its_first_neurons_and_is_labelled():
    before = tiny("gpt2")
    scores = np.random.default_rng(0).random((2, 12))
    case = case_of(before, jittered(before), says(before), mine=scores)
    finding = Silencing(sizes=(1, 3, 5), largest=0.5, draws=2)(case)
    for _, row in own_rows(finding, ranking="mine").iterrows():
        silent = HookedModel.of(copy.deepcopy(case.after.hf), before.tokenizer)
        with torch.no_grad():
            for flat in ranked(scores)[: int(row["size"])]:
                layer, neuron = divmod(int(flat), 12)
                silent.hf.transformer.h[layer].mlp.c_proj.weight[neuron] = 0
        now = case.measure(silent)
        recovered = (now.score - case.at_last.score)[case.forgotten]
        assert row["recovered"] == pytest.approx(recovered.mean(), abs=1e-6)
        assert row["answered"] == now.answered[case.forgotten].sum()
        assert row["chosen_on"] == "elsewhere"
    assert (own_rows(finding)["chosen_on"] == "other facts").all()
    assert len(own_rows(finding)) == 3 and finding.figures["given_best"] == "mine"


def test_given_rankings_that_recover_answers_have_controls_at_their_best_size():
    pair = hidden_pair("gpt2", 0)
    good, bad = np.zeros((2, 24)), np.zeros((2, 24))
    good[0, PLANTED], bad[1, 23] = 1, 1
    case = Case(*pair, KNOWN, Target(), rankings={"good": good, "bad": bad})
    curves = Silencing(draws=3)(case).tables["curves"]
    draws = curves[curves["control"] >= 0].groupby("ranking")["size"].agg(list)
    assert draws["good"] == [1, 1, 1]
    assert sorted(draws[OWN]) == [
        1,
        1,
        1,
    ]  # at most two of 48 neurons are ablated, so the only size is 1
    assert "bad" not in draws


def test_at_most_the_largest_share_is_ablated_but_at_least_one_neuron():
    case = case_of(*hidden_pair("gpt2", 0), KNOWN)
    sizes = {
        largest: sorted(own_rows(Silencing(largest=largest, draws=1)(case))["size"])
        for largest in (0.001, 0.1, 0.7)
    }
    assert sizes == {0.001: [1], 0.1: [1, 3], 0.7: [1, 3, 10, 30]}
    assert list(own_rows(Silencing(sizes=(9,), draws=1)(case))["size"]) == [2]


def test_without_forgotten_facts_nothing_is_ablated():
    before, after = hidden_pair("gpt2", 0)
    finding = Silencing()(case_of(before, before, KNOWN))
    assert finding.word == "not forgotten" and math.isnan(finding.value)
    never = FactSet(forget=tuple(Fact(f.id, f.prompt, "soup") for f in KNOWN.forget))
    assert Silencing()(case_of(before, after, never)).word == "cannot tell"
    three = FactSet(forget=KNOWN.forget[:3])
    finding = Silencing()(case_of(before, after, three))
    assert finding.word == "cannot tell" and finding.figures["answered"] == 3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_models_are_unchanged_for_every_architecture(architecture, tmp_path):
    before = tiny(architecture)
    case = case_of(before, jittered(before), says(before))
    prints = before.fingerprint(), case.after.fingerprint()
    steps = []
    view = Silencing(sizes=(1, 3), largest=0.5, draws=2)
    finding = view(case, lambda done, total: steps.append((done, total)))
    assert (before.fingerprint(), case.after.fingerprint()) == prints
    assert len(steps) > 1 and steps[-1][0] == steps[-1][1] and steps == sorted(steps)
    assert finding.tables["curves"]["recovered"].notna().all()
    finding.save(tmp_path / "silencing", "x")
    assert Finding.load(tmp_path / "silencing", "x").figures == finding.figures
    assert view(case).figures == finding.figures  # seeded


def test_a_pass_that_fails_leaves_the_models_unchanged(monkeypatch):
    case = case_of(*hidden_pair("gpt2", 0), KNOWN)
    case.forgotten  # noqa: B018
    plain = case.measure(case.after)
    with monkeypatch.context() as patch:
        patch.setattr(Target, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
        with pytest.raises(RuntimeError, match="stop"):
            Silencing()(case)
    np.testing.assert_array_equal(case.measure(case.after).score, plain.score)
    assert not any(p.grad is not None for p in case.after.hf.parameters())


@pytest.mark.parametrize(
    "settings",
    [{"sizes": ()}, {"sizes": (3, 1)}, {"sizes": (0, 1)}, {"largest": 0.0}, {"draws": 0}],
)
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Expected"):
        Silencing(**settings)


def test_an_invalid_ranking_is_refused_by_name():
    with pytest.raises(ValueError, match="'mine'"):
        Silencing()(case_of(*hidden_pair("gpt2", 0), KNOWN, mine=np.zeros((2, 23))))
