"""The probe finds a planted direction, and nothing where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from readable import CITIES, FACTS, FORGET, OTHERS, case_of, hooks_of, place, readable
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tiny import ARCHITECTURES, TOWNS, every_expert, tiny, tokenizer
from tiny import FACTS as TINY_FACTS

from neuronscope.evidence._candidates import Candidates
from neuronscope.evidence.linear_probe import LinearProbe, cross_validated, trained
from neuronscope.evidence.logit_lens import LogitLens
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import encode
from neuronscope.models.hooked_model import HookedModel

PIPELINE = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced"))


def marked(kind, strength=3.0):
    """`readable`, with one common direction in the embeddings of all right answers."""
    source = readable(kind)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        direction = torch.randn(source.hf.config.hidden_size, dtype=torch.float64)
    hf = type(source.hf)(source.hf.config).double().eval()
    hf.load_state_dict(source.hf.state_dict())
    with torch.no_grad():
        embed = hf.get_input_embeddings().weight
        for word in (*TOWNS, *CITIES):
            embed[place(word)] += strength * direction
    return HookedModel.of(hf, source.tokenizer)


def made_up(facts=30, wrong=3, width=20, strength=6.0, seed=0):
    """States without a model, in which right candidates are shifted along one direction."""
    rng = np.random.default_rng(seed)
    count = facts * (1 + wrong)
    true = np.arange(count) % (1 + wrong) == 0
    states = rng.normal(size=(count, width)) + strength * np.outer(true, np.eye(width)[0])
    fact = np.repeat(np.arange(facts), 1 + wrong)
    return states, Candidates((), fact, true, np.arange(facts) < facts // 2)


def test_a_planted_direction_is_found_and_shuffled_labels_do_not_find_it():
    states, candidates = made_up()
    assert trained(PIPELINE, states, candidates, candidates.true).mean() > 0.8
    assert cross_validated(PIPELINE, states, candidates).mean() > 0.8
    rng = np.random.default_rng(0)
    control = [
        trained(PIPELINE, states, candidates, candidates.shuffled(rng)).mean() for _ in range(20)
    ]
    assert np.mean(control) == pytest.approx(1 / 4, abs=0.12)


def test_without_a_planted_direction_the_probe_is_at_chance():
    right = np.concatenate(
        [
            trained(PIPELINE, states, candidates, candidates.true)
            for states, candidates in (made_up(strength=0.0, seed=seed) for seed in range(10))
        ]
    )
    assert right.mean() == pytest.approx(1 / 4, abs=0.1)


def test_labels_of_the_forget_set_do_not_affect_the_probe():
    states, candidates = made_up()
    forget = candidates.forget[candidates.fact]
    labels = np.where(forget, np.roll(candidates.true, 1), candidates.true)
    np.testing.assert_array_equal(
        trained(PIPELINE, states, candidates, labels),
        trained(PIPELINE, states, candidates, candidates.true),
    )


def test_training_facts_are_evaluated_by_probes_that_were_not_trained_on_them():
    # With more dimensions than candidates, a probe gets all facts that it was trained on right.
    states, candidates = made_up(facts=12, width=500, strength=0.0)
    one_half = Candidates((), candidates.fact, candidates.true, np.zeros(12, dtype=bool))
    scores = PIPELINE.fit(states, candidates.true).decision_function(states)
    assert one_half.right(scores, np.ones(12, dtype=bool)).all()
    assert cross_validated(PIPELINE, states, one_half).mean() < 0.7


def test_shuffled_labels_have_one_right_candidate_per_fact():
    _, candidates = made_up()
    shuffled = candidates.shuffled(np.random.default_rng(1))
    np.testing.assert_array_equal(np.bincount(candidates.fact, shuffled), 1)
    assert (shuffled != candidates.true).any()


def test_a_fact_is_right_if_its_answer_scores_above_every_distractor():
    fact, true = np.array([0, 0, 0, 1, 1, 2, 2]), np.array([1, 0, 0, 1, 0, 1, 0], dtype=bool)
    candidates = Candidates((), fact, true, np.array([True, True, False]))
    scores = np.array([2.0, 1.0, 3.0, -1.0, -2.0, 0.0, 0.0])
    right = candidates.right(scores, np.ones(3, dtype=bool))
    assert right.tolist() == [False, True, False]  # a tie is not above
    assert candidates.right(scores, candidates.forget).tolist() == [False, True]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_are_those_of_each_candidate_centred_within_its_fact(architecture):
    model = tiny(architecture, **every_expert(architecture))
    case = case_of(model, model, FactSet(forget=TINY_FACTS[:2], retain=TINY_FACTS[2:]))
    candidates = Candidates.of(case, np.ones(4, dtype=bool))
    states = candidates.states(model, np.array([1]))
    mine = candidates.fact == 1
    raw = []
    for one in np.array(candidates.encoded, dtype=object)[mine]:
        with torch.no_grad():
            run = model.hf.base_model(torch.tensor([one.tokens]), output_hidden_states=True)
        raw.append(run.hidden_states[1][0, -1].numpy())
    # The first layer: the last hidden state that transformers returns includes the final norm.
    first = candidates.states(model, np.array([0]))[0, mine]
    np.testing.assert_allclose(first, np.array(raw) - np.mean(raw, axis=0), atol=1e-6)
    assert states.shape == (1, len(candidates.fact), 16) and np.abs(states).max() > 1e-3


@pytest.mark.parametrize("form", ["completion", "question_answer", "multiple_choice"])
def test_candidates_are_appended_to_the_prompt_of_their_fact(form):
    words, fact = tokenizer(), FORGET[0]
    own = encode(fact, words, form)
    assert encode(fact, words, form, fact.answer).tokens == own.tokens
    other = encode(fact, words, form, fact.distractors[1])
    assert other.tokens[: own.prompt_length] == own.tokens[: own.prompt_length]
    assert other.tokens[own.prompt_length :] == (place(fact.distractors[1]),)


def test_facts_with_a_marked_direction_that_are_no_longer_answered_are_hidden():
    finding = LinearProbe()(case_of(marked("knows"), marked("never")))
    assert (finding.word, finding.value) == ("hidden", 1.0)
    assert (
        LogitLens()(case_of(marked("knows"), marked("never"))).word == "erased"
    )  # not at the answer
    assert finding.figures["control_after"] < 0.8


def test_facts_whose_marked_direction_is_gone_are_consistent_with_erased():
    finding = LinearProbe()(case_of(marked("knows"), readable("never")))
    assert finding.word == "erased"
    assert finding.figures["before"] == 1.0
    assert finding.ci95[0] <= finding.figures["chance"] == 0.25


def test_if_the_original_model_is_at_chance_there_is_no_verdict():
    finding = LinearProbe()(case_of(readable("knows"), readable("never")))
    assert finding.word == "cannot tell" and "not clearly above chance" in finding.why


def test_an_unchanged_model_gives_equal_results_and_has_not_forgotten():
    knows = marked("knows")
    finding = LinearProbe()(case_of(knows, knows))
    assert finding.word == "not forgotten"
    table = finding.tables["layers"].set_index("model")
    assert (
        table.loc["before"].reset_index(drop=True).equals(table.loc["after"].reset_index(drop=True))
    )
    assert finding.figures["control_before"] == finding.figures["control_after"]


def test_with_too_few_training_facts_there_is_no_verdict():
    facts = FactSet(forget=FORGET, retain=OTHERS[:5])
    finding = LinearProbe()(case_of(readable("knows"), readable("never"), facts))
    assert finding.word == "cannot tell" and "Only 5 facts" in finding.why
    assert np.isnan(finding.value)


def test_facts_without_distractors_are_left_out_and_counted():
    bare = replace(FORGET[0], id="bare", prompt="young lives Ann", distractors=())
    facts = FactSet(forget=(*FORGET, bare), retain=OTHERS)
    finding = LinearProbe()(case_of(marked("knows"), marked("never"), facts))
    assert finding.figures["left_out"] == 1 and finding.figures["facts"] == len(FORGET)
    with pytest.raises(ValueError, match="wrong answers of the same kind"):
        LinearProbe()(case_of(marked("knows"), marked("never"), replace(FACTS, forget=(bare,))))


def test_chance_is_the_mean_of_one_over_the_number_of_candidates():
    one = replace(FORGET[0], distractors=FORGET[0].distractors[:1])
    facts = FactSet(forget=(one, *FORGET[1:]), retain=OTHERS)
    finding = LinearProbe()(case_of(marked("knows"), marked("never"), facts))
    assert finding.figures["chance"] == pytest.approx((1 / 2 + 9 / 4) / 10)


def test_layers_are_evenly_spaced_and_end_with_the_last():
    layers = LinearProbe(layers=2)(case_of(marked("knows"), marked("never"))).tables["layers"]
    assert layers["layer"].tolist() == [1, 3, 1, 3]
    assert layers.groupby("model")["chosen"].sum().tolist() == [1, 1]
    everything = LinearProbe(layers=9)(case_of(marked("knows"), marked("never"))).tables["layers"]
    assert everything["layer"].tolist() == [0, 1, 2, 3] * 2


@pytest.mark.parametrize("settings", [{"layers": 0}, {"shuffles": 0}, {"inverse_penalty": 0.0}])
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Expected layers and shuffles"):
        LinearProbe(**settings)


def test_both_models_are_unchanged_even_if_a_pass_fails(monkeypatch):
    before, after = marked("knows"), marked("never")
    prints = before.fingerprint(), after.fingerprint()
    first, second = (LinearProbe()(case_of(before, after)) for _ in range(2))
    assert first.figures == second.figures
    monkeypatch.setattr(
        "neuronscope.evidence._states.answer_logits",
        lambda *_: (_ for _ in ()).throw(RuntimeError("stop")),
    )
    with pytest.raises(RuntimeError, match="stop"):
        LinearProbe()(case_of(before, after))
    assert hooks_of(before) == hooks_of(after) == []
    assert (before.fingerprint(), after.fingerprint()) == prints


def test_a_distractor_that_cannot_be_tokenized_is_named():
    odd = Fact("odd", "lives Ann", "Cairo", distractors=("unheard",))
    with pytest.raises(ValueError, match="'odd'"):
        encode(odd, tokenizer(), "completion", "unheard")
