"""The lens uses the model's own head: after the last layer it gives the model's logits."""

import numpy as np
import pandas as pd
import pytest
import torch
from readable import FACTS, FORGET, OTHERS, case_of, hooks_of, readable
from tiny import ARCHITECTURES, batch_of, every_expert, tiny
from tiny import FACTS as TINY_FACTS

from neuronscope.evidence._states import Pass, ends, states_at, tail
from neuronscope.evidence.logit_lens import (
    LABELS,
    LogitLens,
    chance_of_all,
    contested,
    pairs_won,
    read_at_best,
)
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import Encoded
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Answers

TINY = FactSet(forget=TINY_FACTS[:3], retain=TINY_FACTS[3:])


def answers_and_tokens():
    batch = batch_of(TINY_FACTS)
    return Answers.of(batch), batch.tokens[:, :-1]


def logits_of(model, tokens, answers):
    """All logits of the plain model, at the answers."""
    with torch.no_grad():
        return model.hf(input_ids=tokens, use_cache=False).logits[answers.row, answers.position]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_after_the_last_layer_the_lens_gives_the_models_logits(architecture):
    model = tiny(architecture, **every_expert(architecture))
    answers, tokens = answers_and_tokens()
    states = states_at(model, tokens, answers)
    assert len(states) == model.n_layers
    read = tail(model, answers.token).resumed(model.n_layers - 1, states[-1])
    torch.testing.assert_close(read, logits_of(model, tokens, answers))
    earlier = tail(model, answers.token).resumed(model.n_layers - 1, states[0])
    assert (earlier - read).abs().max() > 1e-3


def test_scaled_capped_and_projected_logits_equal_the_models():
    answers, tokens = answers_and_tokens()
    for architecture, changes in (
        ("gemma2", {"final_logit_softcapping": 0.5}),
        ("granite", {"hidden_size": 16, "num_hidden_layers": 2, "logits_scaling": 3.0,
                     "num_attention_heads": 4, "intermediate_size": 12}),
        ("opt", {"word_embed_proj_dim": 8}),
    ):  # fmt: skip
        model = tiny(architecture, **changes)
        read = tail(model, answers.token).resumed(-1, states_at(model, tokens, answers)[-1])
        torch.testing.assert_close(read, logits_of(model, tokens, answers))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_pass_resumed_with_its_own_states_is_unchanged(architecture):
    model = tiny(architecture)
    answers, tokens = answers_and_tokens()
    run = Pass.of(model, tokens, answers)
    for layer, states in enumerate(states_at(model, tokens, answers)):
        torch.testing.assert_close(run.resumed(layer, states), run.logits)
        assert (run.resumed(layer, states.flip(-1)) - run.logits).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_resumed_pass_equals_a_pass_with_a_hook(architecture):
    model = tiny(architecture)
    answers, tokens = answers_and_tokens()
    run = Pass.of(model, tokens, answers)
    states = torch.randn(len(answers.row), 16, dtype=torch.float64)

    def put(module, args, output):
        stream = output[0] if isinstance(output, tuple) else output
        stream[answers.row, answers.position] = states
        return output

    hook = decoder_layers(model.hf)[0].register_forward_hook(put)
    expected = logits_of(model, tokens, answers)
    hook.remove()
    torch.testing.assert_close(run.resumed(0, states), expected)


def test_replacing_all_states_after_the_last_layer_gives_the_donors_logits():
    knows, donor = readable("knows"), readable("hides")
    # The heads are the same, so the donor's states give the donor's logits.
    tokens = torch.tensor([[5, 6, 7, 8]])
    everywhere = Answers(
        row=torch.zeros(4, dtype=torch.long),
        position=torch.arange(4),
        token=torch.zeros(4, dtype=torch.long),
        rivals=torch.zeros(4, 0, dtype=torch.long),
        rows=1,
    )
    run = Pass.of(knows, tokens, everywhere)
    theirs = logits_of(donor, tokens, everywhere)
    read = run.resumed(knows.n_layers - 1, states_at(donor, tokens, everywhere)[-1])
    torch.testing.assert_close(read, theirs)
    assert (run.logits - theirs).abs().max() > 1


def test_padding_does_not_affect_the_states():
    model = tiny("llama")
    batch = batch_of(TINY_FACTS)
    together = states_at(model, batch.tokens, ends(batch.lengths.tolist(), model.device))
    for row, fact in enumerate(TINY_FACTS):
        alone = batch_of((fact,))
        states = states_at(model, alone.tokens, ends(alone.lengths.tolist(), model.device))
        torch.testing.assert_close(states[:, 0], together[:, row])


def test_pairs_are_compared_where_answer_and_distractor_first_differ():
    # "New Delhi" differs from "New Paris" at the second token, and from "Rome" at the first.
    answers = contested(Answers.of(batch_of(TINY_FACTS[:3])))
    logits = torch.zeros(len(answers.row), 60, dtype=torch.float64)
    logits[torch.arange(len(answers.row)), answers.token] = 1.0
    assert pairs_won(logits, answers).tolist() == [1, 1, 1]
    logits[-1, answers.token[-1]] = -1.0
    assert pairs_won(logits, answers).tolist() == [1, 1, 0.5]
    logits[-1, answers.token[-1]] = 0.0  # a tie
    assert pairs_won(logits, answers).tolist() == [1, 1, 0.75]


def test_facts_without_distractors_have_no_pairs():
    answers = Answers.of(batch_of((TINY_FACTS[0], Fact("bare", "a dog is", "a cat"))))
    won = pairs_won(torch.randn(len(answers.row), 60), answers)
    assert won.isnan().tolist() == [False, True]


def test_chance_of_beating_all_distractors_is_the_product_over_tokens():
    assert chance_of_all(Encoded((1, 2), 1, ((0, 5), (0, 6)))) == pytest.approx(1 / 3)
    assert chance_of_all(Encoded((1, 2, 3), 1, ((0, 5), (1, 6)))) == pytest.approx(1 / 4)


def test_a_fact_does_not_influence_the_choice_of_its_layer():
    # Fact 0 is readable only after layer 1, where no other fact is; the others choose layer 0.
    before = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(read_at_best(before, before), [0.0, 1.0, 1.0])
    # Of equally good layers, the first is chosen.
    np.testing.assert_array_equal(read_at_best(np.ones((2, 3)), before), before[0])


def test_suppression_in_the_last_layer_alone_is_hidden():
    finding = LogitLens()(case_of(readable("knows"), readable("hides")))
    assert (finding.word, finding.value) == ("hidden", 1.0)
    assert finding.figures["layer"] == 0 and finding.figures["facts"] == len(FORGET)
    layers = finding.tables["layers"].query("facts == 'forget' and model == 'after'")
    assert layers["label"].tolist() == ["still readable"] * 3 + ["over-unlearned"]
    assert layers["pairs"].tolist() == [1, 1, 1, 0]


def test_facts_that_were_never_learned_are_consistent_with_erased():
    finding = LogitLens()(case_of(readable("knows"), readable("never")))
    assert finding.word == "erased"
    assert finding.ci95[0] < 0.5 < finding.ci95[1]
    layers = finding.tables["layers"].query("model == 'after'").set_index("facts")
    assert set(layers.loc["forget", "label"]) == {"consistent with erased"}
    assert set(layers.loc["other", "label"]) == {"still readable"}


def test_without_readable_answers_in_the_original_model_there_is_no_verdict():
    case = case_of(readable("never"), readable("never", seed=1))
    finding = LogitLens()(case)
    assert finding.word == "cannot tell"
    labels = finding.tables["layers"].query("facts == 'forget' and model == 'after'")["label"]
    assert set(labels) == {"never readable"}


def test_an_unchanged_model_gives_equal_results_and_has_not_forgotten():
    knows = readable("knows")
    finding = LogitLens()(case_of(knows, knows))
    assert finding.word == "not forgotten"
    table = finding.tables["layers"].drop(columns="label")
    before, after = (
        table.query("model == @model").drop(columns="model").reset_index(drop=True)
        for model in ("before", "after")
    )
    pd.testing.assert_frame_equal(before, after)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "opt", "mixtral"])
def test_random_models_are_at_chance(architecture):
    model = tiny(architecture)
    layers = LogitLens()(case_of(model, model, FACTS)).tables["layers"]
    inside = (layers["pairs_low"] <= 0.5) & (layers["pairs_high"] >= 0.5)
    assert inside.mean() >= 0.75
    assert set(layers["all_chance"]) == {0.25}


def test_facts_without_distractors_are_left_out_and_counted():
    bare = Fact("bare", "lives Ann in", "Rome")
    facts = FactSet(forget=(*FORGET, bare), retain=OTHERS)
    finding = LogitLens()(case_of(readable("knows"), readable("hides"), facts))
    assert finding.figures["left_out"] == 1 and "1 facts" in finding.warnings[0]
    assert set(finding.tables["layers"].query("facts == 'forget'")["count"]) == {len(FORGET)}
    counted = [finding.figures[f"layers {label}"] for label in LABELS]
    assert sum(counted) == readable("knows").n_layers


def test_without_any_distractors_the_error_says_what_to_do():
    facts = FactSet(forget=(Fact("bare", "lives Ann", "Cairo"),), retain=OTHERS)
    with pytest.raises(ValueError, match="wrong answers of the same kind"):
        LogitLens()(case_of(readable("knows"), readable("hides"), facts))


def test_models_of_different_depth_are_refused():
    with pytest.raises(ValueError, match="2 before and 3 after"):
        LogitLens()(case_of(tiny("llama"), tiny("llama", num_hidden_layers=3)))


def test_both_models_are_unchanged_even_if_a_pass_fails(monkeypatch):
    before, after = tiny("llama"), tiny("llama", initializer_range=0.1)
    prints = before.fingerprint(), after.fingerprint()
    case = case_of(before, after, TINY)
    LogitLens()(case)
    seen = []

    def fails(model, *_):
        seen.append(hooks_of(model))
        raise RuntimeError("stop")

    monkeypatch.setattr("neuronscope.evidence._states.answer_logits", fails)
    with pytest.raises(RuntimeError, match="stop"):
        LogitLens()(case)
    assert seen[0], "the pass that failed had hooks"
    assert hooks_of(before) == hooks_of(after) == []
    assert (before.fingerprint(), after.fingerprint()) == prints


def test_a_resumed_pass_that_fails_restores_the_layers_forward(monkeypatch):
    model = tiny("llama")
    answers, tokens = answers_and_tokens()
    run, states = Pass.of(model, tokens, answers), states_at(model, tokens, answers)
    seen = []

    def fails(model: HookedModel, *_):
        seen.append(hooks_of(model))
        raise RuntimeError("stop")

    monkeypatch.setattr("neuronscope.evidence._states.answer_logits", fails)
    with pytest.raises(RuntimeError, match="stop"):
        run.resumed(1, states[1])
    assert {kind for _, kind, _ in seen[0]} == {"own"}
    assert hooks_of(model) == []


def test_progress_ends_at_its_total():
    told = []
    LogitLens()(case_of(readable("knows"), readable("hides")), lambda *step: told.append(step))
    assert told[-1][0] == told[-1][1] == len(told)
