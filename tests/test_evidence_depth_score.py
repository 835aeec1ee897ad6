"""The depth score: limits, values computed by hand, and hand-made models."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from readable import FACTS, FORGET, LAYERS, OTHERS, case_of, hooks_of, place, readable
from tiny import ARCHITECTURES, every_expert, tiny

from neuronscope.evidence._states import Pass
from neuronscope.evidence._subjects import other_subjects
from neuronscope.evidence.depth_score import DepthScore, depth_scores, losses
from neuronscope.facts.fact import Fact, FactSet

SMALL = FactSet(forget=FORGET[:4], retain=OTHERS[:2])


def test_the_formula_by_hand():
    reference = np.array([[0.04, 1.0, 3.0], [0.0, 0.05, 0.01], [2.0, 2.0, 0.2]])
    after = np.array([[9.0, 0.5, 1.5], [1.0, 1.0, 1.0], [4.0, -1.0, 0.1]])
    # 1: (1 · ½ + 3 · ½) / 4. 2: no layer above 0.05. 3: (2 · 1 + 2 · 0 + 0.2 · ½) / 4.2.
    np.testing.assert_allclose(depth_scores(reference, after, 0.05), [0.5, np.nan, 2.1 / 4.2])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_unchanged_model_scores_zero_and_the_reference_itself_scores_one(architecture):
    sizes = every_expert(architecture)
    before, retain = tiny(architecture, **sizes), tiny(architecture, **sizes)
    with torch.no_grad():
        for parameter in retain.hf.parameters():
            parameter.mul_(0.7)
    intact = DepthScore(retain=retain)(case_of(before, before, SMALL))
    assert intact.value == pytest.approx(0, abs=1e-5)
    erased = DepthScore(retain=retain)(case_of(before, retain, SMALL))
    assert erased.value == 1.0
    assert intact.figures["facts"] == erased.figures["facts"] > 0


def test_suppression_in_the_last_of_four_layers_scores_a_quarter():
    case = case_of(readable("knows"), readable("hides"))
    for view in (DepthScore(), DepthScore(retain=readable("never"))):
        finding = view(case)
        # The stream is the same in all layers, so the reference causes the same loss in each.
        assert finding.value == pytest.approx(1 / LAYERS)
        assert finding.word == "hidden"
        layers = finding.tables["layers"].set_index("source").loc["after"]
        np.testing.assert_allclose(layers["loss"].iloc[:-1], 0, atol=1e-9)
        assert layers["loss"].iloc[-1] > 1


def test_facts_that_were_never_learned_are_erased_and_score_lower_in_the_variant():
    case = case_of(readable("knows"), readable("never"))
    published = DepthScore(retain=readable("never", seed=2))(case)
    variant = DepthScore()(case)
    assert published.word == "erased" and not published.warnings
    assert published.figures["reference"] == "retain model"
    # The other subjects' states encode different answers, which causes a larger loss.
    assert 1 / 2 < variant.value < published.value
    assert variant.figures["reference"] == "other subjects" and "variant" in variant.meaning
    assert "lower" in variant.warnings[0]


def test_the_states_of_a_single_other_subject_cause_a_larger_loss():
    case = case_of(readable("knows"), readable("never"))
    one, many = (DepthScore(subjects=count)(case) for count in (1, 8))
    cost = [
        finding.tables["layers"].query("source == 'other subjects'")["loss"].mean()
        for finding in (one, many)
    ]
    assert cost[0] > cost[1] > 0 and one.value < many.value


def test_losses_by_hand():
    knows, never = readable("knows"), readable("never")
    case = case_of(knows, never)
    encoded = case.labelled[0][1]
    run = Pass.of_answers(knows, [encoded])

    def log_prob(model):
        with torch.no_grad():
            logits = model.hf(torch.tensor([encoded.tokens[:-1]])).logits[0, -1]
        return float(logits.log_softmax(-1)[place(FORGET[0].answer)])

    # Both have the same head and the stream does not change, so the whole state is replaced.
    expected = log_prob(knows) - log_prob(never)
    np.testing.assert_allclose(losses(run, never, [(encoded,)]), [[expected] * LAYERS], rtol=1e-6)
    np.testing.assert_allclose(losses(run, knows, [(encoded,)]), [[0.0] * LAYERS], atol=1e-9)


def test_an_unchanged_model_has_not_forgotten():
    knows = readable("knows")
    finding = DepthScore()(case_of(knows, knows))
    assert finding.word == "not forgotten" and finding.value == pytest.approx(0, abs=1e-9)


def test_loss_in_layers_that_do_not_count_is_reported_separately():
    knows, hides = readable("knows"), readable("hides")
    # The reference is the original model, which knows the facts, so no layer counts.
    finding = DepthScore(retain=knows)(case_of(knows, hides))
    assert finding.word == "cannot tell" and np.isnan(finding.value)
    assert finding.figures["without_a_layer"] == len(FORGET)
    last = finding.tables["layers"].query("source == 'after'")["loss"].iloc[-1]
    assert finding.figures["loss_in_other_layers"] == pytest.approx(last) and last > 1


def test_prompts_about_other_subjects_keep_the_relation_and_the_answer_tokens():
    case = case_of(readable("knows"), readable("knows"))
    questions = other_subjects(case, 0, most=3)
    subjects = [fact.subject for fact in FORGET[1:4]]  # starting at the next fact
    assert [q.tokens for q in questions] == [
        (place("lives"), place(who), place(FORGET[0].answer)) for who in subjects
    ]
    alike = Fact("x", "lives dog", FORGET[0].answer, subject="dog", relation="lives")
    facts = FactSet(forget=(FORGET[0], alike), retain=OTHERS)
    assert other_subjects(case_of(case.before, case.before, facts), 0, most=3) == ()


def test_subjects_with_the_same_number_of_tokens_come_first():
    longer = Fact("x", "lives young dog", "Rome", subject="young dog", relation="lives")
    facts = FactSet(forget=(FORGET[0], longer, FORGET[1]))
    case = case_of(readable("knows"), readable("knows"), facts)
    lengths = [len(question.tokens) for question in other_subjects(case, 0, most=3)]
    assert lengths == [3, 4]


def test_facts_whose_subject_is_not_in_the_prompt_are_left_out_and_counted():
    no_subject = replace(FORGET[0], id="none", prompt="young lives Ann", subject=None)
    absent = replace(FORGET[0], id="absent", prompt="a lives Ann", subject="Ben")
    facts = FactSet(forget=(*FORGET[1:], no_subject, absent), retain=OTHERS)
    finding = DepthScore()(case_of(readable("knows"), readable("hides"), facts))
    assert finding.figures["without_other_subjects"] == 2
    assert finding.figures["facts"] == len(FORGET) - 1
    assert any("2 facts were left out" in warning for warning in finding.warnings)
    with_retain = DepthScore(retain=readable("never"))
    assert with_retain(case_of(readable("knows"), readable("hides"), facts)).figures["facts"] == 11


def test_without_any_subject_the_error_says_what_to_do():
    facts = FactSet(forget=tuple(replace(fact, subject=None) for fact in FORGET), retain=OTHERS)
    with pytest.raises(ValueError, match="retain model"):
        DepthScore()(case_of(readable("knows"), readable("hides"), facts))


def test_models_of_different_shapes_are_refused():
    case = case_of(tiny("llama"), tiny("llama"), SMALL)
    with pytest.raises(ValueError, match="cannot be exchanged"):
        DepthScore(retain=tiny("llama", num_hidden_layers=3))(case)


@pytest.mark.parametrize("settings", [{"subjects": 0}, {"threshold": 0.0}])
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Expected subjects"):
        DepthScore(**settings)


def test_all_models_are_unchanged_even_if_a_pass_fails(monkeypatch):
    models = [tiny("llama"), tiny("llama"), tiny("llama")]
    prints = [model.fingerprint() for model in models]
    view, case = DepthScore(retain=models[2]), case_of(models[0], models[1], SMALL)
    view(case)
    monkeypatch.setattr(Pass, "resumed", lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    with pytest.raises(RuntimeError, match="stop"):
        view(case)
    assert [hooks_of(model) for model in models] == [[], [], []]
    assert [model.fingerprint() for model in models] == prints


def test_each_fact_is_scored_independently():
    finding = DepthScore()(case_of(readable("knows"), readable("never"), FACTS))
    alone = DepthScore(retain=readable("never", seed=1))
    for fact in FORGET[:2]:
        facts = FactSet(forget=(fact,), retain=OTHERS)
        single = alone(case_of(readable("knows"), readable("never"), facts)).tables["facts"]
        every = alone(case_of(readable("knows"), readable("never"))).tables["facts"]
        np.testing.assert_allclose(
            every.set_index("fact").loc[fact.id, "score"], single["score"].item(), rtol=1e-6
        )
    assert finding.tables["facts"]["fact"].tolist() == [fact.id for fact in FORGET]
