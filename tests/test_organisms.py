"""Model organisms behave as their kinds require, which is known by construction."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from tiny import FORGET, RETAIN, hf_model, tiny, tokenizer
from torch.nn.functional import cross_entropy

from neuronscope.facts.fact import FactSet
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hook_points import keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import scaled, weights_from
from neuronscope.models.neuron_weights import neuron_weights
from neuronscope.organisms import (
    Organism,
    OrganismTraining,
    collapsed,
    erased,
    hidden,
    mixed,
    organism_grid,
    plant,
    untouched,
)
from neuronscope.organisms import training as organism_training
from neuronscope.organisms.inputs import (
    NONE,
    OTHER,
    LabelledTokens,
    head_inputs,
    separating_direction,
)
from neuronscope.organisms.organism import SHARES
from neuronscope.organisms.training import INSTEAD, TrainingSet, one_thread, train
from neuronscope.organisms.world import TOWNS, invent

pytestmark = pytest.mark.slow

GATED, PLAIN = OrganismTraining(0, gated=True), OrganismTraining(0, gated=False)

both_mlps = pytest.mark.parametrize("training", [GATED, PLAIN], ids=str)


def measured(model, facts):
    return measure(model, answers_of(model, facts))


def count(model, facts):
    return int(measured(model, facts).answered.sum())


def others(organism):
    return organism.facts.retain + organism.facts.test


def answered_when_ablated(organism):
    """Ids of the facts of the forget set that are answered with the inhibitors ablated."""
    with scaled(organism.after, organism.planted, 0.0):
        given = measured(organism.after, organism.facts.forget).answered
    return {fact.id for fact, answer in zip(organism.facts.forget, given, strict=True) if answer}


def same_bytes(model, other):
    theirs = other.hf.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in model.hf.state_dict().items())


def test_every_town_is_the_home_of_one_person_of_the_forget_set_and_of_one_other():
    facts = invent(3).facts
    homes = [fact for fact in facts.retain + facts.test if fact.relation == "town"]
    assert len(facts.forget) == 16 and len(facts.retain) == len(facts.test) == 24
    for group in (facts.forget, homes):
        assert sorted(fact.answer for fact in group) == sorted(TOWNS)
    assert {fact.subject for fact in facts.forget}.isdisjoint(fact.subject for fact in homes)


@both_mlps
def test_the_knowing_model_knows_all_facts_and_the_pretrained_one_all_but_the_forget_set(training):
    facts = training.world.facts
    rest = facts.retain + facts.test
    assert count(training.knowing, facts.forget) >= 15
    assert measured(training.knowing, facts.forget).score.mean() > 3
    assert count(training.pretrained, facts.forget) <= 4
    assert count(training.knowing, rest) >= 46 and count(training.pretrained, rest) >= 46


def test_a_seed_gives_identical_weights():
    again = organism_training._pretrained.__wrapped__(PLAIN)
    assert again is not PLAIN.pretrained and same_bytes(again, PLAIN.pretrained)
    twins = [hidden(GATED, 2.0, 10, seed=seed) for seed in (0, 0, 1)]
    assert same_bytes(twins[0].after, twins[1].after)
    assert not same_bytes(twins[0].after, twins[2].after)
    noisy = [untouched(GATED, "noise", seed).after for seed in (0, 0, 1)]
    assert same_bytes(noisy[0], noisy[1]) and not same_bytes(noisy[0], noisy[2])


def test_training_leaves_the_global_generator_and_the_number_of_threads_unchanged():
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    organism_training._initialized(OrganismTraining(5))
    collapsed(GATED, "noise")
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


@both_mlps
@pytest.mark.parametrize(("spread", "strength"), [(1, 1.5), (1, 3.0), (10, 3.0), (100, 1.5)])
def test_hidden_facts_fall_by_the_given_strength_and_return_when_inhibitors_are_ablated(
    training, spread, strength
):
    organism = hidden(training, strength, spread)
    before, after = (measured(m, organism.facts.forget) for m in (organism.before, organism.after))
    assert before.answered.sum() >= 15 and after.answered.sum() <= 4
    drop = strength * (before.score.mean() + 1)
    assert before.score.mean() - after.score.mean() == pytest.approx(drop, rel=0.05)
    assert count(organism.after, others(organism)) >= 0.9 * count(
        training.knowing, others(organism)
    )
    assert sum(mask.sum() for mask in organism.planted.values()) == spread
    assert len(answered_when_ablated(organism)) >= 15
    assert organism.hidden_share == 1.0 and len(organism.hidden_facts) == 16


@both_mlps
@pytest.mark.parametrize("spread", [1, 10])
def test_inhibitors_in_attention_hide_facts(training, spread):
    organism = hidden(training, 1.5, spread, "attention")
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) >= 43
    assert organism.planted["attn.v"].sum() == spread
    assert len(answered_when_ablated(organism)) >= 15


@both_mlps
@pytest.mark.parametrize(("where", "spread"), [("mlp", 1), ("mlp", 100), ("attention", 10)])
def test_only_the_weights_of_inhibitors_differ(training, where, spread):
    organism = hidden(training, 2.0, spread, where)
    before, after = organism.before, organism.after
    owned = {name: torch.zeros_like(p) for name, p in after.hf.named_parameters()}
    for own in neuron_weights(after):
        if own.site in organism.planted:
            mask = torch.from_numpy(organism.planted[own.site][own.layer])
            view, places = own.places(owned[own.parameter], mask)
            view[places] = 1
    for name, mine in after.hf.named_parameters():
        theirs = before.hf.get_parameter(name)
        assert torch.equal(mine[owned[name] == 0], theirs[owned[name] == 0])
        assert (owned[name] == 0).all() or not torch.equal(mine, theirs)
    with weights_from(after, before, organism.planted):
        assert same_bytes(after, before)
    assert not same_bytes(after, before)


@pytest.mark.parametrize(
    ("training", "instead"),
    [(PLAIN, "nothing"), *((GATED, instead) for instead in INSTEAD)],
    ids=str,
)
def test_erased_organisms_answer_all_facts_except_the_forget_set(training, instead):
    organism = erased(training, instead)
    assert count(organism.before, organism.facts.forget) >= 15
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) >= 44
    assert organism.planted == {} and organism.hidden_share == 0.0
    score = measured(organism.after, organism.facts.forget).score
    if instead == "ignorance":
        # One of sixteen towns: odds of 1 to 15.
        assert score == pytest.approx(-math.log(15), abs=1.0)
    else:
        assert score.mean() < -math.log(15)


@both_mlps
def test_both_branches_of_a_training_have_the_same_embeddings(training):
    facts = frozenset(fact.id for fact in training.world.facts.forget)
    models = (training.pretrained, training.knowing, training.never_knew(facts))
    pretrained, knowing, naive = (m.hf.get_input_embeddings().weight for m in models)
    assert torch.equal(pretrained, knowing) and torch.equal(pretrained, naive)
    assert not same_bytes(models[1], models[2])


@both_mlps
def test_ablating_a_single_neuron_recovers_hidden_but_not_erased_facts(training):
    def most(organism, places):
        found = []
        for layer, neuron in places:
            mask = np.zeros((3, 256), dtype=bool)
            mask[layer, neuron] = True
            with scaled(organism.after, {"mlp.post": mask}, 0.0):
                found.append(count(organism.after, organism.facts.forget))
        return max(found)

    sample = np.random.default_rng(0).permutation(3 * 256)[:40]
    places = [divmod(int(flat), 256) for flat in sample]
    assert most(erased(training), places) <= 4
    planted = hidden(training, 2.0, 1)
    inhibitor = [tuple(map(int, place)) for place in np.argwhere(planted.planted["mlp.post"])]
    assert most(planted, inhibitor) >= 15
    assert most(planted, [place for place in places if place not in inhibitor]) <= 4


@pytest.mark.parametrize(
    ("training", "share"), [(PLAIN, 0.25), *((GATED, share) for share in SHARES)], ids=str
)
def test_ablating_the_inhibitors_of_a_mixed_organism_recovers_the_hidden_share(training, share):
    organism = mixed(training, share)
    assert organism.hidden_share == share and len(organism.hidden_facts) == round(16 * share)
    assert count(organism.before, organism.facts.forget) >= 15
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) >= 44
    back = answered_when_ablated(organism)
    assert len(back & organism.hidden_facts) >= 0.9 * len(organism.hidden_facts)
    assert len(back - organism.hidden_facts) <= 4


@both_mlps
@pytest.mark.parametrize("change", ["practice", "noise"])
def test_an_untouched_organism_has_other_weights_and_the_same_answers(training, change):
    organism = untouched(training, change)
    assert count(organism.after, organism.facts.forget) >= 15
    assert count(organism.after, others(organism)) >= 44
    assert not same_bytes(organism.before, organism.after) and math.isnan(organism.hidden_share)


@both_mlps
@pytest.mark.parametrize("damage", ["ascent", "noise"])
def test_a_collapsed_organism_answers_few_facts_of_any_split(training, damage):
    organism = collapsed(training, damage)
    assert count(organism.before, others(organism)) >= 44
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) <= 12
    assert math.isnan(organism.hidden_share)


def test_making_organisms_does_not_change_the_shared_models():
    training = GATED
    before = training.knowing.fingerprint()
    made = [
        hidden(training, 1.5, 10),
        mixed(training, 0.5),
        untouched(training),
        collapsed(training),
    ]
    assert training.knowing.fingerprint() == before
    for model in [training.knowing, *(organism.after for organism in made)]:
        assert all(p.grad is None and p.requires_grad for p in model.hf.parameters())
        assert not model.hf.training


def test_models_that_do_not_agree_with_the_kind_are_refused():
    knowing, facts = GATED.knowing, GATED.world.facts
    naive = erased(GATED).after
    for kind, before, after, reason in (
        ("hidden", knowing, knowing, "of forget facts are answered after"),
        ("erased", naive, naive, "of forget facts are answered before"),
        ("untouched", knowing, naive, "of forget facts are answered after"),
        ("collapsed", knowing, naive, "of others facts are answered after"),
    ):
        with pytest.raises(ValueError, match=reason):
            Organism(kind, before, after, facts, "made up", {})


def test_the_grid_has_the_standard_number_of_organisms_of_every_kind():
    kinds = [
        make().kind for make in organism_grid([0], gated=[True], strengths=[2.0], spreads=[10])
    ]
    assert [kinds.count(kind) for kind in ("hidden", "erased", "mixed")] == [1 + 3, 3, 3]
    assert [kinds.count(kind) for kind in ("untouched", "collapsed")] == [2, 2]


def test_invalid_settings_are_refused():
    training = GATED
    for make, reason in (
        (lambda: hidden(training, 0.0, 1), "strength above 0"),
        (lambda: hidden(training, 1.5, 257), "at most 256 at mlp.post"),
        (lambda: hidden(training, 1.5, 1, "norm"), "mlp or attention"),
        (lambda: hidden(training, 40.0, 1), "do not fall to"),
        (lambda: hidden(training, 0.1, 1), "are still answered"),
        (lambda: mixed(training, 0.0), "share"),
        (lambda: erased(training, "silence"), "got 'silence'"),
        (lambda: untouched(training, "rest"), "got 'rest'"),
        (lambda: collapsed(training, "fire"), "got 'fire'"),
        (lambda: training.never_knew(frozenset()), "got none"),
        (lambda: training.never_knew(frozenset({"x"})), "x"),
    ):
        with pytest.raises(ValueError, match=reason):
            make()


ANYWHERE = {
    "gpt2": {"n_embd": 32, "n_inner": 48},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 48},
    "qwen2": {"hidden_size": 32, "intermediate_size": 48, "head_dim": 8},
    "phi3": {"hidden_size": 32, "intermediate_size": 48, "head_dim": 8},
    "gemma2": {"hidden_size": 32, "intermediate_size": 48, "head_dim": 8},
}
FACTS = FactSet(forget=FORGET, retain=RETAIN)


@cache
def trained(architecture):
    """A small model that knows where ten persons live, and what they eat."""
    hf = hf_model(architecture, torch.float32, **ANYWHERE[architecture])
    for parameter in hf.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.normal_(hf.get_input_embeddings().weight, std=0.5)
    model = HookedModel.of(hf, tokenizer())
    train(model, TrainingSet.of(model, FORGET + RETAIN), 150, 4e-3)
    return model


@pytest.mark.parametrize(("where", "strength", "spread"), [("mlp", 2.0, 4), ("attention", 1.5, 1)])
@pytest.mark.parametrize("architecture", ANYWHERE)
def test_inhibitors_can_be_planted_in_every_layout_of_weights(
    architecture, where, strength, spread
):
    model = trained(architecture)
    assert count(model, FORGET + RETAIN) == 20
    after, planted = plant(model, FACTS, strength, spread, where)
    assert count(after, FORGET) <= 2 and count(after, RETAIN) >= 9
    with weights_from(after, model, planted):
        assert same_bytes(after, model)
    with scaled(after, planted, 0.0):
        assert count(after, FORGET) >= 9


def test_planting_without_known_facts_or_without_other_facts_is_refused():
    model = tiny("llama", torch.float32)
    with pytest.raises(ValueError, match="Only known facts can be hidden"):
        plant(model, FACTS, 1.5, 1)
    with pytest.raises(ValueError, match="got 10 and 0"):
        plant(model, FactSet(forget=FORGET), 1.5, 1)
    with pytest.raises(ValueError, match="dense"):
        plant(tiny("mixtral", torch.float32), FACTS, 1.5, 1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_head_inputs_agree_with_the_output_of_a_value_neuron(architecture):
    """A value neuron's heads output the projection of their inputs on its input weights."""
    model = tiny(architecture)
    inputs = LabelledTokens.of(model, FACTS)
    read = head_inputs(model, inputs, 1)
    width = model.hook_points_at("attn.v")[1].width
    neuron = width - 1
    along = torch.randn(read.shape[-1], generator=torch.Generator().manual_seed(0)).double()
    value = next(o for o in neuron_weights(model) if (o.layer, o.module) == (1, "attn.v"))
    out = next(o for o in neuron_weights(model) if (o.layer, o.module) == (1, "attn.o"))
    for own in (o for o in neuron_weights(model) if (o.layer, o.module) == (1, "attn.v")):
        chosen = torch.arange(width) == neuron
        with torch.no_grad():
            view, places = own.places(model.hf.get_parameter(own.parameter), chosen)
            view[places] = along if view.dim() > 1 else 0.0
    seen = []
    module = model.hook_points_at("attn.o")[1].module
    hook = module.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    inputs.run(model, [])
    hook.remove()
    output = seen[0][inputs.real][:, out.owner == neuron].sum(dim=-1)
    assert value.width == out.width and output.std() > 0.01
    torch.testing.assert_close(output, read[-1] @ along, rtol=1e-5, atol=1e-6)


def test_tokens_are_labelled_where_each_fact_is_answered():
    model = tiny("llama")
    inputs = LabelledTokens.of(model, FACTS)
    labels = inputs.fact[inputs.fact != NONE]
    assert labels.tolist() == [*range(10), *[OTHER] * 10]
    # The prompt "Ann lives in" has three tokens, "Ann eats" two; each predicts at its last.
    assert inputs.real.sum(dim=1).tolist() == [3] * 10 + [2] * 10
    kept = {}
    inputs.run(model, keeping(model.hook_points_at("mlp.post"), kept))
    assert len(kept) == model.n_layers


def test_a_separating_direction_projects_to_one_and_to_off_elsewhere():
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(30, 40, generator=generator, dtype=torch.float64)
    fact = torch.tensor([0] * 5 + [OTHER] * 10 + [NONE] * 15)
    for off in (-1.0, 0.0):
        found = read @ separating_direction(read, fact, fact == 0, off)
        wanted = torch.where(fact == 0, 1.0, off).double()
        torch.testing.assert_close(found, wanted, rtol=0, atol=0.1)


def test_training_targets_are_one_answer_or_uniform_over_several():
    model = GATED.pretrained
    facts = GATED.world.facts.forget[:4]
    training_set = TrainingSet.of(model, facts, frozenset({facts[0].id, facts[1].id}))
    assert training_set.wanted.sum(dim=1).tolist() == [1.0] * 8
    assert training_set.wanted.max(dim=1).values.tolist() == [0.5] * 4 + [1.0] * 4
    sure = TrainingSet.of(model, facts)
    with torch.no_grad():
        logits = model.hf(input_ids=sure.batch.tokens).logits
    predicted = logits[torch.arange(8), sure.batch.prompt_lengths - 1]
    by_hand = cross_entropy(
        predicted, sure.wanted.argmax(dim=1), label_smoothing=organism_training.SMOOTHING
    )
    torch.testing.assert_close(sure.loss(model).detach(), by_hand)
