"""Baselines: zero, a mean at each position, and a reference prompt."""

import pytest
import torch
from tiny import FACTS, FORGET, RETAIN, StayDouble, batch_of, scores_of, tiny
from torch.testing import assert_close

from neuronscope.attribution._baselines import Mean, Reference, Zero, activations, mean_baseline
from neuronscope.attribution._record import record
from neuronscope.attribution.conductance import Conductance
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import Batch
from neuronscope.models.neutral_facts import neutral_facts
from neuronscope.models.targets import Target

SITES = ("mlp.post", "attn.v")


def alone(model, fact, hook_point):
    """A fact's activations, without padding: `[pos, neuron]`."""
    return activations(model, batch_of([fact]).tokens[:, :-1], (hook_point,))[0][0]


def test_the_mean_at_each_position_is_over_the_facts_that_are_long_enough():
    model = tiny("llama")
    together = mean_baseline(model, [batch_of(FACTS)], SITES)
    apart = mean_baseline(model, [batch_of(FACTS[:1]), batch_of(FACTS[1:])], SITES)
    lengths = [len(batch_of([fact]).tokens[0]) - 1 for fact in FACTS]
    assert sorted(lengths) == [3, 4, 5, 7]
    for site in SITES:
        for hook_point in model.hook_points_at(site):
            facts = [alone(model, fact, hook_point) for fact in FACTS]
            expected = torch.stack(
                [
                    torch.stack([here[at] for here in facts if at < len(here)]).mean(dim=0)
                    for at in range(max(lengths))
                ]
            )
            for mean in (together, apart):
                assert_close(mean(model, 7, hook_point), expected, rtol=1e-5, atol=1e-6)
                assert_close(mean(model, 3, hook_point), expected[:3], rtol=1e-5, atol=1e-6)
                beyond = mean(model, 9, hook_point)[7:]
                assert_close(beyond, expected[-1:].expand(2, -1), rtol=1e-5, atol=1e-6)
    assert str(together) == str(apart) == "mean over 4 facts"


def test_a_reference_is_cut_or_extended_by_its_last_token():
    model = tiny("gpt2")
    hook_point = model.hook_points_at("mlp.post")[1]

    def neurons(words):
        tokens = torch.tensor([model.tokenizer(words).input_ids])
        return activations(model, tokens, (hook_point,))[0][0]

    baseline = Reference("the cat is")
    assert_close(baseline(model, 5, hook_point), neurons("the cat is is is"))
    assert_close(baseline(model, 2, hook_point), neurons("the cat"))
    assert str(baseline) == "reference: the cat is" and str(Zero()) == "zero"


@pytest.mark.parametrize("path", ["per_layer", "joint"])
def test_a_fact_compared_with_itself_has_no_influence(path):
    """The mean over the fact itself, and its own prompt as reference, equal its activations."""
    model = tiny("llama")
    batch = batch_of(FACTS[2:3])
    own = Reference("a capital is New")
    with StayDouble():
        for baseline in (mean_baseline(model, [batch], SITES), own):
            method = IntegratedGradients(path=path).starting_at(baseline)
            for found in method(model, batch, SITES, Target()).values():
                assert found.total.abs().max() < 1e-12
                score = scores_of(model, batch)[:, None].expand_as(found.baseline_score)
                assert_close(found.baseline_score, score)
        other = IntegratedGradients(path=path).starting_at(Reference("a capital is"))
        assert other(model, batch, SITES, Target())["mlp.post"].total.abs().max() > 1e-2


def test_any_callable_is_a_baseline():
    model, batch = tiny("gpt2"), batch_of(FACTS)

    def half(model, positions, hook_point):
        return torch.full((1, hook_point.width), 0.5, dtype=model.dtype)

    method = IntegratedGradients(baseline="zero", tolerance=1e-6)
    found = method.starting_at(half)(model, batch, SITES, Target())
    silent = method(model, batch, SITES, Target())
    for site in SITES:
        missing = scores_of(model, batch)[:, None] - found[site].baseline_score
        assert_close(found[site].explained, missing, rtol=0, atol=1e-6)
        assert not torch.allclose(found[site].total, silent[site].total, atol=1e-2)


@pytest.mark.parametrize("prompt", ["", "   "])
def test_a_reference_without_tokens_is_refused(prompt):
    model, batch = tiny("gpt2"), batch_of(FACTS)
    for method in (IntegratedGradients, Conductance):
        with pytest.raises(ValueError, match=r"has no tokens|reference prompt"):
            method(baseline="reference", reference=prompt)(model, batch, SITES, Target())


def test_padding_is_excluded_from_means():
    model = tiny("llama")
    long = Fact("long", "the capital city of Spain is called", "Madrid")
    batch = batch_of([FACTS[3], long])
    other = Batch(batch.tokens.clone(), batch.prompt_lengths, batch.lengths, batch.rivals)
    other.tokens[0, batch.lengths[0] :] = 7
    means = [mean_baseline(model, [one], SITES) for one in (batch, other)]
    for key, values in means[0].values.items():
        assert torch.equal(values, means[1].values[key])
    assert isinstance(means[0], Mean) and not torch.equal(batch.tokens, other.tokens)


def baseline_of(recording):
    return recording.provenance.settings["baseline"]


def test_the_default_baseline_is_the_mean_over_facts_outside_the_forget_set():
    model = tiny("llama")
    facts = FactSet(forget=FORGET[:2], retain=RETAIN[:3])
    recording = record(model, facts, sites=SITES, progress=False)
    assert baseline_of(recording) == "mean over 3 facts"
    mean = mean_baseline(model, [batch_of(RETAIN[:3])], SITES)
    method = IntegratedGradients().starting_at(mean)
    expected = record(model, facts, method, SITES, progress=False)
    for site in SITES:
        assert (recording.sites[site].total == expected.sites[site].total).all()


def test_neutral_facts_give_the_baseline_if_all_facts_are_in_the_forget_set():
    model = tiny("llama")
    given = record(model, FORGET[:2], neutral=RETAIN[:3], progress=False)
    assert baseline_of(given).startswith("mean over 3 neutral facts (")
    assert not given.provenance.notes
    kept = FactSet(forget=FORGET[:2], retain=RETAIN[:3])
    same = record(model, kept, progress=False).sites["mlp.post"].total[:2]
    torch.testing.assert_close(torch.tensor(given.sites["mlp.post"].total), torch.tensor(same))


def test_without_answered_neutral_facts_the_baseline_is_zero_with_a_note():
    model = tiny("llama")
    assert neutral_facts(model) == ()
    found = record(model, FORGET[:2], progress=False)
    silent = record(model, FORGET[:2], IntegratedGradients(baseline="zero"), progress=False)
    assert baseline_of(found) == baseline_of(silent) == "zero"
    assert len(found.provenance.notes) == 1 and not silent.provenance.notes
    assert (found.sites["mlp.post"].total == silent.sites["mlp.post"].total).all()


def test_a_mean_that_was_not_measured_is_refused():
    with pytest.raises(ValueError, match=r"prepared\(\)"):
        IntegratedGradients()(tiny("gpt2"), batch_of(FACTS), SITES, Target())
