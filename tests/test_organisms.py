"""Organisms do what they say, and what they say is true by construction."""

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
from neuronscope.organisms import training as growing
from neuronscope.organisms.organism import SHARES
from neuronscope.organisms.reading import NONE, OTHER, Scene, direction, read_by_heads
from neuronscope.organisms.training import INSTEAD, Lesson, learn, one_thread
from neuronscope.organisms.world import TOWNS, invent

pytestmark = pytest.mark.slow

GATED, PLAIN = OrganismTraining(0, gated=True), OrganismTraining(0, gated=False)

both_mlps = pytest.mark.parametrize("training", [GATED, PLAIN], ids=str)


def ask(model, facts):
    return measure(model, answers_of(model, facts))


def count(model, facts):
    return int(ask(model, facts).answered.sum())


def others(organism):
    return organism.facts.retain + organism.facts.test


def silenced(organism):
    """Facts to be forgotten that are answered while the inhibitors are silent, by id."""
    with scaled(organism.after, organism.planted, 0.0):
        given = ask(organism.after, organism.facts.forget).answered
    return {fact.id for fact, answer in zip(organism.facts.forget, given, strict=True) if answer}


def same_bytes(model, other):
    theirs = other.hf.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in model.hf.state_dict().items())


def test_every_town_is_the_home_of_one_person_to_be_forgotten_and_of_another():
    facts = invent(3).facts
    homes = [fact for fact in facts.retain + facts.test if fact.relation == "town"]
    assert len(facts.forget) == 16 and len(facts.retain) == len(facts.test) == 24
    for group in (facts.forget, homes):
        assert sorted(fact.answer for fact in group) == sorted(TOWNS)
    assert {fact.subject for fact in facts.forget}.isdisjoint(fact.subject for fact in homes)


@both_mlps
def test_the_knowing_model_knows_all_and_the_child_all_but_what_is_to_be_forgotten(training):
    facts = training.world.facts
    rest = facts.retain + facts.test
    assert count(training.knowing, facts.forget) >= 15
    assert ask(training.knowing, facts.forget).score.mean() > 3
    assert count(training.child, facts.forget) <= 4
    assert count(training.knowing, rest) >= 46 and count(training.child, rest) >= 46


def test_a_seed_always_gives_the_same_bytes():
    again = growing._child.__wrapped__(PLAIN)
    assert again is not PLAIN.child and same_bytes(again, PLAIN.child)
    twins = [hidden(GATED, 2.0, 10, seed=seed) for seed in (0, 0, 1)]
    assert same_bytes(twins[0].after, twins[1].after)
    assert not same_bytes(twins[0].after, twins[2].after)
    shaken = [untouched(GATED, "noise", seed).after for seed in (0, 0, 1)]
    assert same_bytes(shaken[0], shaken[1]) and not same_bytes(shaken[0], shaken[2])


def test_growing_up_draws_from_no_shared_generator_and_leaves_the_threads_alone():
    torch.manual_seed(7)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    growing._newborn(OrganismTraining(5))
    collapsed(GATED, "noise")
    with pytest.raises(ZeroDivisionError), one_thread():
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


@both_mlps
@pytest.mark.parametrize(("spread", "strength"), [(1, 1.5), (1, 3.0), (10, 3.0), (100, 1.5)])
def test_hidden_facts_fall_as_far_as_asked_and_come_back_when_inhibitors_are_silent(
    training, spread, strength
):
    organism = hidden(training, strength, spread)
    before, after = (ask(m, organism.facts.forget) for m in (organism.before, organism.after))
    assert before.answered.sum() >= 15 and after.answered.sum() <= 4
    drop = strength * (before.score.mean() + 1)
    assert before.score.mean() - after.score.mean() == pytest.approx(drop, rel=0.05)
    assert count(organism.after, others(organism)) >= 0.9 * count(
        training.knowing, others(organism)
    )
    assert sum(mask.sum() for mask in organism.planted.values()) == spread
    assert len(silenced(organism)) >= 15
    assert organism.hidden_share == 1.0 and len(organism.hidden_facts) == 16


@both_mlps
@pytest.mark.parametrize("spread", [1, 10])
def test_inhibitors_in_attention_hide_too(training, spread):
    organism = hidden(training, 1.5, spread, "attention")
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) >= 43
    assert organism.planted["attn.v"].sum() == spread
    assert len(silenced(organism)) >= 15


@both_mlps
@pytest.mark.parametrize(("where", "spread"), [("mlp", 1), ("mlp", 100), ("attention", 10)])
def test_only_what_the_inhibitors_own_differs_and_with_it_restored_nothing_does(
    training, where, spread
):
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
def test_what_was_never_known_is_not_answered_and_all_else_is(training, instead):
    organism = erased(training, instead)
    assert count(organism.before, organism.facts.forget) >= 15
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) >= 44
    assert organism.planted == {} and organism.hidden_share == 0.0
    score = ask(organism.after, organism.facts.forget).score
    if instead == "ignorance":
        # One town in sixteen: log-odds of 1 to 15.
        assert score == pytest.approx(-math.log(15), abs=1.0)
    else:
        assert score.mean() < -math.log(15)


@both_mlps
def test_both_branches_of_a_nursery_have_the_same_embeddings(training):
    facts = frozenset(fact.id for fact in training.world.facts.forget)
    models = (training.child, training.knowing, training.never_knew(facts))
    child, knowing, naive = (m.hf.get_input_embeddings().weight for m in models)
    assert torch.equal(child, knowing) and torch.equal(child, naive)
    assert not same_bytes(models[1], models[2])


@both_mlps
def test_no_single_silent_neuron_brings_back_what_was_erased_as_one_does_what_is_hidden(training):
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
def test_of_a_mixed_organism_only_the_hidden_share_comes_back(training, share):
    organism = mixed(training, share)
    assert organism.hidden_share == share and len(organism.hidden_facts) == round(16 * share)
    assert count(organism.before, organism.facts.forget) >= 15
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) >= 44
    back = silenced(organism)
    assert len(back & organism.hidden_facts) >= 0.9 * len(organism.hidden_facts)
    assert len(back - organism.hidden_facts) <= 4


@both_mlps
@pytest.mark.parametrize("change", ["practice", "noise"])
def test_an_untouched_organism_is_another_model_that_answers_the_same(training, change):
    organism = untouched(training, change)
    assert count(organism.after, organism.facts.forget) >= 15
    assert count(organism.after, others(organism)) >= 44
    assert not same_bytes(organism.before, organism.after) and math.isnan(organism.hidden_share)


@both_mlps
@pytest.mark.parametrize("damage", ["ascent", "noise"])
def test_a_collapsed_organism_answers_little_of_anything(training, damage):
    organism = collapsed(training, damage)
    assert count(organism.before, others(organism)) >= 44
    assert count(organism.after, organism.facts.forget) <= 4
    assert count(organism.after, others(organism)) <= 12
    assert math.isnan(organism.hidden_share)


def test_organisms_leave_the_models_they_are_made_from_as_they_were():
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


def test_an_organism_that_does_not_do_what_it_says_is_refused():
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


def test_a_litter_has_every_kind_in_its_standard_numbers():
    kinds = [
        make().kind for make in organism_grid([0], gated=[True], strengths=[2.0], spreads=[10])
    ]
    assert [kinds.count(kind) for kind in ("hidden", "erased", "mixed")] == [1 + 3, 3, 3]
    assert [kinds.count(kind) for kind in ("untouched", "collapsed")] == [2, 2]


def test_settings_that_mean_nothing_are_refused():
    training = GATED
    for make, reason in (
        (lambda: hidden(training, 0.0, 1), "strength above 0"),
        (lambda: hidden(training, 1.5, 257), "256 at mlp.post"),
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
def taught(architecture):
    """A small model that knows where ten persons live, and what they eat."""
    hf = hf_model(architecture, torch.float32, **ANYWHERE[architecture])
    for parameter in hf.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    torch.nn.init.normal_(hf.get_input_embeddings().weight, std=0.5)
    model = HookedModel.of(hf, tokenizer())
    learn(model, Lesson.of(model, FORGET + RETAIN), 150, 4e-3)
    return model


@pytest.mark.parametrize(("where", "strength", "spread"), [("mlp", 2.0, 4), ("attention", 1.5, 1)])
@pytest.mark.parametrize("architecture", ANYWHERE)
def test_inhibitors_are_planted_in_any_layout_of_weights(architecture, where, strength, spread):
    model = taught(architecture)
    assert count(model, FORGET + RETAIN) == 20
    after, planted = plant(model, FACTS, strength, spread, where)
    assert count(after, FORGET) <= 2 and count(after, RETAIN) >= 9
    with weights_from(after, model, planted):
        assert same_bytes(after, model)
    with scaled(after, planted, 0.0):
        assert count(after, FORGET) >= 9


def test_planting_is_refused_where_nothing_is_known_or_nothing_else_is_to_stay():
    model = tiny("llama", torch.float32)
    with pytest.raises(ValueError, match="Only what is known can be hidden"):
        plant(model, FACTS, 1.5, 1)
    with pytest.raises(ValueError, match="got 10 and 0"):
        plant(model, FactSet(forget=FORGET), 1.5, 1)
    with pytest.raises(ValueError, match="dense"):
        plant(tiny("mixtral", torch.float32), FACTS, 1.5, 1)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gpt_neox", "phi3"])
def test_what_heads_read_is_what_a_value_neuron_hands_to_the_output(architecture):
    """A value neuron is given a direction to read; what arrives behind its heads is that of it."""
    model = tiny(architecture)
    scene = Scene.of(model, FACTS)
    read = read_by_heads(model, scene, 1)
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
    scene.show(model, [])
    hook.remove()
    arrived = seen[0][scene.real][:, out.owner == neuron].sum(dim=-1)
    assert value.width == out.width and arrived.std() > 0.01
    torch.testing.assert_close(arrived, read[-1] @ along, rtol=1e-5, atol=1e-6)


def test_a_scene_marks_where_each_fact_is_answered_and_nothing_else():
    model = tiny("llama")
    scene = Scene.of(model, FACTS)
    asked = scene.fact[scene.fact != NONE]
    assert asked.tolist() == [*range(10), *[OTHER] * 10]
    # "Ann lives in" predicts at its last token, "Ann eats" at its own.
    assert scene.real.sum(dim=1).tolist() == [3] * 10 + [2] * 10
    kept = {}
    scene.show(model, keeping(model.hook_points_at("mlp.post"), kept))
    assert len(kept) == model.n_layers


def test_a_direction_is_one_where_it_should_be_and_off_elsewhere():
    generator = torch.Generator().manual_seed(0)
    read = torch.randn(30, 40, generator=generator, dtype=torch.float64)
    fact = torch.tensor([0] * 5 + [OTHER] * 10 + [NONE] * 15)
    for off in (-1.0, 0.0):
        found = read @ direction(read, fact, fact == 0, off)
        wanted = torch.where(fact == 0, 1.0, off).double()
        torch.testing.assert_close(found, wanted, rtol=0, atol=0.1)


def test_what_is_taught_is_one_answer_or_any_of_several():
    model = GATED.child
    facts = GATED.world.facts.forget[:4]
    lesson = Lesson.of(model, facts, frozenset({facts[0].id, facts[1].id}))
    assert lesson.wanted.sum(dim=1).tolist() == [1.0] * 8
    assert lesson.wanted.max(dim=1).values.tolist() == [0.5] * 4 + [1.0] * 4
    sure = Lesson.of(model, facts)
    with torch.no_grad():
        logits = model.hf(input_ids=sure.batch.tokens).logits
    asked = logits[torch.arange(8), sure.batch.prompt_lengths - 1]
    by_hand = cross_entropy(asked, sure.wanted.argmax(dim=1), label_smoothing=growing.SMOOTHING)
    torch.testing.assert_close(sure.loss(model).detach(), by_hand)
