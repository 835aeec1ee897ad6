"""Weight restoration finds planted inhibitors and compares them with matched random neurons."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_planted import IN_ONE_WORD, KNOWN, PLANTED, erased_pair, hidden_pair
from tiny import ARCHITECTURES, PEOPLE, WORDS, StayDouble, batch_of, tiny

from neuronscope.evidence._base import Case
from neuronscope.evidence._causal_score import causal_score
from neuronscope.evidence._controls import LEAST_IN_STRATUM, alike, by_layer_and_size, change_norms
from neuronscope.evidence._curves import Curve
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.evidence.weight_restoration import WeightRestoration
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import weights_from
from neuronscope.models.targets import Target
from neuronscope.results.findings import Finding

SITE = "mlp.post"


def jittered(model, by=1.0, seed=3):
    """A copy with noise added to all weights."""
    hf = copy.deepcopy(model.hf)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in hf.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(by * noise * parameter.abs().mean())
    return HookedModel.of(hf, model.tokenizer)


def says(model):
    """Facts that a random model answers: whatever it says first."""
    facts = []
    for who in PEOPLE:
        tokens = batch_of([Fact("one", f"{who} lives in", "Rome")]).tokens[:, :-1]
        with torch.no_grad():
            logits = model.hf(input_ids=tokens, use_cache=False).logits[0, -1]
        answer = WORDS[4 + int(logits[4:].argmax())]  # the first four are special
        facts.append(Fact(f"{who} lives", f"{who} lives in", answer))
    return FactSet(forget=tuple(facts), retain=(Fact("cat", "a young cat", "kitten"),))


def case_of(before, after, facts, **rankings):
    return Case(before, after, facts, Target(), rankings=rankings or None)


def planted_among(case, *neurons, layer=0):
    scores = np.zeros((2, case.after.hook_points_at(SITE)[0].width))
    for place, neuron in enumerate(neurons):
        scores[layer, neuron] = len(neurons) - place
    return scores


def split_up(pair, neurons):
    """The pair with its planted inhibitor divided among several neurons of layer 0."""
    models = []
    for model in pair:
        hf = copy.deepcopy(model.hf)
        mlp = hf.transformer.h[0].mlp
        with torch.no_grad():
            whole = mlp.c_proj.weight[PLANTED].clone()
            for neuron in neurons:
                mlp.c_fc.weight[:, neuron] = mlp.c_fc.weight[:, PLANTED].clone()
                mlp.c_fc.bias[neuron] = 0
                mlp.c_proj.weight[neuron] = whole / len(neurons)
        models.append(HookedModel.of(hf, model.tokenizer))
    return models


def rows(finding, ranking, control=-1):
    curves = finding.tables["curves"]
    return curves[(curves["ranking"] == ranking) & (curves["control"] == control)]


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_a_planted_inhibitor_is_the_minimal_set_and_has_a_causal_score_of_one(architecture):
    case = case_of(*hidden_pair(architecture, 1), KNOWN)
    finding = WeightRestoration()(case)
    assert finding.word == "hidden"
    assert finding.value == 1 / 48 and finding.figures["minimal_neurons"] == 1
    assert finding.figures["minimal_ranking"] == "weight_change"
    assert finding.figures["minimal_random_most"] <= 1 < 9 <= finding.figures["minimal_answered"]
    places = finding.tables["minimal_set"]
    assert places[["layer", "neuron"]].to_numpy().tolist() == [[1, PLANTED]]
    scores = finding.tables["scores"].set_index("ranking").loc["weight_change"]
    assert scores["causal_score"] == pytest.approx(1, abs=1e-5) and scores["beats_random"]


def test_with_several_planted_neurons_the_minimal_set_is_the_shortest_sufficient_prefix():
    spread = (3, 5, 8, 13, 20)
    case = case_of(*split_up(hidden_pair("gpt2", 0), spread), KNOWN)
    true = planted_among(case, *spread)
    false = np.random.default_rng(2).random(true.shape)
    case = Case(case.before, case.after, KNOWN, Target(), rankings={"true": true, "false": false})
    finding = WeightRestoration(bins=1, draws=8)(case)
    enough = []
    for size in range(1, 6):
        mask = np.zeros(true.shape, dtype=bool)
        mask[0, list(spread[:size])] = True
        with weights_from(case.after, case.before, {SITE: mask}):
            back = (case.measure(case.after).answered & case.forgotten).sum()
        enough.append(back >= math.ceil(case.forgotten.sum() / 2))
    assert enough == sorted(enough) and 0 < sum(enough) < 5  # monotone here
    assert finding.figures["minimal_neurons"] == 1 + enough.index(True)
    scores = finding.tables["scores"].set_index("ranking")
    assert scores.loc["true", "causal_score"] > 0.5 and scores.loc["true", "beats_random"]
    assert not scores.loc["false", "beats_random"]
    assert finding.tables["scores"]["ranking"].iloc[-1] == "false"
    assert finding.figures["best"] in ("true", "weight_change")


def test_random_rankings_rarely_beat_random():
    case = case_of(*split_up(hidden_pair("gpt2", 0), (3, 5, 8, 13, 20)), KNOWN)
    draw = np.random.default_rng(0)
    rankings = {f"random {i}": draw.random((2, 24)) for i in range(12)}
    case = Case(case.before, case.after, KNOWN, Target(), rankings=rankings)
    scores = WeightRestoration(thorough=12, steps=4)(case).tables["scores"].set_index("ranking")
    assert scores.loc["weight_change", "beats_random"]
    assert scores.drop("weight_change")["beats_random"].sum() <= 1
    touch = scores["low"] <= scores["chance"]
    assert touch.drop("weight_change").sum() >= 11


def test_all_curves_end_with_all_neurons_restored():
    case = case_of(*hidden_pair("llama", 0), KNOWN, other=np.arange(48.0).reshape(2, 24))
    finding = WeightRestoration(steps=3, draws=2)(case)
    with weights_from(case.after, case.before, {SITE: np.ones((2, 24), dtype=bool)}):
        measured = case.measure(case.after)
    expected = (measured.score - case.at_last.score)[case.forgotten].mean()
    ends = finding.tables["curves"].groupby(["ranking", "control"]).last()
    assert len(ends) == 6 and (ends["size"] == 48).all()
    np.testing.assert_allclose(ends["recovered"], expected, atol=1e-4)
    assert (ends["answered"] == (measured.answered & case.forgotten).sum()).all()
    assert finding.figures["all_recovered"] == pytest.approx(expected, abs=1e-4)


def test_restoring_incrementally_equals_restoring_each_set_at_once():
    before = tiny("gpt2")
    case = case_of(before, jittered(before), says(before))
    order = np.arange(24)[::-1]
    ranking = -np.argsort(order).reshape(2, 12).astype(float)
    case = Case(case.before, case.after, case.facts, Target(), rankings={"backwards": ranking})
    finding = WeightRestoration(smallest=0.1, largest=0.5, steps=3, draws=2)(case)
    for _, row in rows(finding, "backwards").iterrows():
        mask = np.zeros(24, dtype=bool)
        mask[order[: int(row["size"])]] = True
        with weights_from(case.after, case.before, {SITE: mask.reshape(2, 12)}):
            now = case.measure(case.after)
        recovered = (now.score - case.at_last.score)[case.forgotten]
        assert row["recovered"] == pytest.approx(recovered.mean(), abs=1e-6)
        assert row["answered"] == now.answered[case.forgotten].sum()


def test_a_single_answer_stored_in_one_neuron_is_not_taken_for_hidden_knowledge():
    finding = WeightRestoration()(case_of(*erased_pair("gpt2", 0), IN_ONE_WORD))
    assert finding.figures["minimal_neurons"] == 1  # one neuron stored it, and can store it
    assert finding.word == "cannot tell" and "different answers" in finding.why


def test_without_a_sufficient_set_the_reason_says_so():
    before = tiny("llama")
    hf = copy.deepcopy(before.hf)
    with torch.no_grad():  # only attention changes
        for layer in hf.model.layers:
            layer.self_attn.o_proj.weight.mul_(-1)
    case = case_of(before, HookedModel.of(hf, before.tokenizer), says(before))
    assert case.forgotten.sum() >= 4
    finding = WeightRestoration(draws=2)(case)
    assert finding.word == "cannot tell" and math.isnan(finding.value)
    assert finding.figures["minimal_neurons"] is None and finding.tables["minimal_set"].empty
    assert "recovers only 0 of" in finding.why
    assert np.isnan(finding.tables["scores"]["causal_score"]).all() and finding.warnings


def test_without_forgotten_facts_there_is_no_verdict():
    before, after = hidden_pair("gpt2", 0)
    assert WeightRestoration()(case_of(before, before, KNOWN)).word == "not forgotten"
    never = FactSet(forget=tuple(Fact(f.id, f.prompt, "soup") for f in KNOWN.forget))
    finding = WeightRestoration()(case_of(before, after, never))
    assert finding.word == "cannot tell" and "Only 0 facts" in finding.why


def test_three_forgotten_facts_are_too_few_for_a_verdict_but_have_a_curve():
    facts = FactSet(forget=KNOWN.forget[:3], retain=KNOWN.retain)
    finding = WeightRestoration(draws=2)(case_of(*hidden_pair("gpt2", 0), facts))
    assert finding.word == "cannot tell" and "Only 3 facts" in finding.why
    assert finding.figures["minimal_neurons"] == 1


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_both_models_are_unchanged_for_every_architecture(architecture, tmp_path):
    before = tiny(architecture)
    case = case_of(before, jittered(before), says(before))
    assert case.forgotten.any()
    prints = before.fingerprint(), case.after.fingerprint()
    steps = []
    view = WeightRestoration(steps=2, draws=2)
    finding = view(case, lambda done, total: steps.append((done, total)))
    assert (before.fingerprint(), case.after.fingerprint()) == prints
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1]
    curves = finding.tables["curves"]
    assert curves["recovered"].notna().all() and (curves["answered"] <= curves["total"]).all()
    finding.save(tmp_path / "weight_restoration", "x")
    again = Finding.load(tmp_path / "weight_restoration", "x")
    assert again.figures == finding.figures and set(again.tables) == set(finding.tables)
    assert view(case).figures == finding.figures  # seeded


def test_a_pass_that_fails_leaves_the_models_unchanged(monkeypatch):
    case = case_of(*hidden_pair("gpt2", 0), KNOWN)
    case.forgotten  # noqa: B018
    prints = case.before.fingerprint(), case.after.fingerprint()
    monkeypatch.setattr(Target, "__call__", lambda *_: (_ for _ in ()).throw(RuntimeError("stop")))
    with pytest.raises(RuntimeError, match="stop"):
        WeightRestoration()(case)
    assert (case.before.fingerprint(), case.after.fingerprint()) == prints


@given(st.data())
def test_every_prefix_of_a_control_has_the_same_number_of_neurons_per_stratum(data):
    count = data.draw(st.integers(1, 40))
    order = np.array(data.draw(st.permutations(range(count))))
    strata = np.array(data.draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    drawn = alike(order, strata, np.random.default_rng(data.draw(st.integers(0, 99))))
    assert sorted(drawn) == list(range(count))
    np.testing.assert_array_equal(strata[drawn], strata[order])


@given(st.data())
def test_spared_neurons_are_drawn_last_in_their_stratum(data):
    count = data.draw(st.integers(1, 30))
    order = np.array(data.draw(st.permutations(range(count))))
    strata = np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    spared = data.draw(st.integers(0, count))
    drawn = alike(order, strata, np.random.default_rng(0), spared)
    np.testing.assert_array_equal(strata[drawn], strata[order])
    for stratum in set(strata):
        is_spared = np.isin(drawn[strata[drawn] == stratum], order[:spared])
        assert (np.sort(is_spared) == is_spared).all()


def test_controls_differ_between_draws_and_from_the_ranking():
    draw = np.random.default_rng(0)
    order, strata = draw.permutation(400), np.arange(400) // 100
    first, second = (set(alike(order, strata, draw)[:50]) for _ in range(2))
    assert len({*order[:50]} & first) < 25 and len(first & second) < 25


def test_matched_controls_have_equal_counts_per_layer_and_similar_norms():
    draw = np.random.default_rng(1)
    norms = np.exp(0.5 * draw.normal(size=(3, 320)))
    strata = by_layer_and_size(norms, 10)
    assert np.bincount(strata).tolist() == [32] * 30
    order = np.argsort(-(norms + draw.normal(size=norms.shape)), axis=None)
    flat, spans = norms.ravel(), [np.ptp(norms.ravel()[strata == s]) for s in range(30)]
    for size in (7, 60, 500):
        control = alike(order, strata, draw)[:size]
        for layer in range(3):
            mine, theirs = (chosen[chosen // 320 == layer] for chosen in (order[:size], control))
            assert len(mine) == len(theirs)
            # In each bin the two differ by at most its width.
            allowed = sum(spans[s] for s in strata[mine])
            assert abs(flat[mine].sum() - flat[theirs].sum()) <= allowed
        plain = draw.permutation(960)[:size]
        if size == 60:
            assert abs(flat[control].mean() / flat[order[:size]].mean() - 1) < 0.25
            assert flat[plain].mean() < 0.6 * flat[order[:size]].mean()


def test_small_layers_have_fewer_bins():
    assert (np.bincount(by_layer_and_size(np.random.rand(2, 24), 10)) >= LEAST_IN_STRATUM).all()
    assert set(by_layer_and_size(np.zeros((2, 4)), 10)) == {0, 1}


@pytest.mark.parametrize("architecture", ["gpt2", "phi3", "mixtral"])
def test_change_norms_equal_those_of_the_weight_path(architecture):
    with StayDouble():
        before = tiny(architecture)
        after = jittered(before, by=0.1)
        neurons = WeightPath(nodes=1, max_nodes=1)(
            Case(before, after, says(before), Target())
        ).tables["neurons"]
    norms = change_norms(before, after)
    expected = neurons.loc[neurons["site"] == SITE, "norm"].to_numpy()
    np.testing.assert_allclose(norms.ravel(), expected, rtol=1e-9)
    assert norms.min() > 0


def curve(sizes, *facts):
    recovered = np.array(facts, dtype=float).T
    return Curve(np.array(sizes), recovered, recovered > 1)


def test_a_causal_score_by_hand():
    # Two decades; areas are in units of log 10.
    ranking = curve([1, 10, 100], [0, 4, 4], [2, 2, 4])
    random = [curve([1, 10, 100], [0, 0, 4], [0, 0, 4]), curve([1, 10, 100], [0, 2, 4], [0, 2, 4])]
    # Ranking 6 and 5; random 2 and 4, mean 3; all 8 and 8.
    score = causal_score(ranking, random)
    assert score.value == pytest.approx((5.5 - 3) / (8 - 3))
    # Draws of 2 and 4 have a standard deviation of √2; t of one degree of freedom.
    assert score.chance == pytest.approx(12.7062 * math.sqrt(2) * math.sqrt(1.5) / 5, rel=1e-4)
    assert not score.beats_random
    same = [random[0], random[0]]
    assert causal_score(random[0], same).value == causal_score(random[0], same).chance == 0
    best = curve([1, 10, 100], [4, 4, 4], [4, 4, 4])
    assert causal_score(best, random).value == pytest.approx(1)
    assert (
        causal_score(best, same).low == pytest.approx(1) and causal_score(best, same).beats_random
    )


def test_linear_controls_give_the_same_score_at_fewer_sizes():
    draw = np.random.default_rng(0)
    sizes, slopes = np.array([1, 3, 10, 30, 100]), draw.uniform(1, 2, size=(3, 6))
    ranking = Curve(sizes, draw.uniform(50, 100, (5, 6)).cumsum(axis=0), np.ones((5, 6), bool))
    whole, part = (
        [Curve(at, at[:, None] * slope, np.ones((len(at), 6), bool)) for slope in slopes]
        for at in (sizes, sizes[[1, 3, 4]])
    )
    assert causal_score(ranking, whole) == pytest.approx(causal_score(ranking, part), abs=1e-12)


def test_if_all_neurons_are_no_better_than_random_there_is_no_score():
    flat = curve([1, 10], [1, 1], [1, 1])
    score = causal_score(flat, [flat, flat])
    assert math.isnan(score.value) and math.isnan(score.chance) and not score.beats_random


@pytest.mark.parametrize(
    "settings", [{"smallest": 0.0}, {"largest": 1.0}, {"draws": 1}, {"steps": 0}, {"bins": 0}]
)
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match="Expected"):
        WeightRestoration(**settings)


def test_an_invalid_ranking_is_refused_by_name():
    pair = hidden_pair("gpt2", 0)
    for scores in (np.zeros((2, 23)), np.full((2, 24), np.nan)):
        with pytest.raises(ValueError, match="'mine'"):
            WeightRestoration()(case_of(*pair, KNOWN, mine=scores))
    with pytest.raises(ValueError, match="cannot be exchanged"):
        WeightRestoration()(case_of(pair[0], tiny("gpt2"), KNOWN))
    with pytest.raises(ValueError, match="split 'forget'"):
        WeightRestoration()(case_of(*pair, FactSet(retain=KNOWN.retain)))
