"""Integrated gradients are complete: they add up to the effect of replacing the activations.

The right side of each identity is computed on the bare model, with plain PyTorch hooks that write
the baseline.
"""

import pytest
import torch
from tiny import (
    ARCHITECTURES,
    EXPERT_ARCHITECTURES,
    FACTS,
    StayDouble,
    batch_of,
    every_expert,
    real_positions,
    scores_of,
    tiny,
    written,
)
from torch.testing import assert_close

from neuronscope.attribution._baselines import Reference, Zero, mean_baseline
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.models.targets import Target

EXACT = 1e-8
"""Nats; the tolerance of the quadrature is a fifth of it."""

EVERY_SITE = ("llama", "gpt2", "gpt_neox", "phi3")

BATCH = batch_of((FACTS[0], FACTS[2]))
"""Two facts; the second has the shorter prompt and two answer tokens."""


SILENCE = Zero()


def integrated(**settings):
    return IntegratedGradients(tolerance=EXACT / 5, max_steps=20_000, **settings)


def check_complete(model, sites, method, moved, groups=None, baseline=SILENCE):
    """Compare each group's influence with the effect of replacing it by its baseline."""
    length = BATCH.tokens.shape[1] - 1
    score = scores_of(model, BATCH)
    found = method.starting_at(baseline)(model, BATCH, sites, Target())
    for site in sites:
        hook_points = model.hook_points_at(site)
        here = found[site]
        for group, members in enumerate(groups or [(layer,) for layer in range(len(hook_points))]):
            base = {hook_points[m]: baseline(model, length, hook_points[m])[None] for m in members}
            with written(base, moved):
                replaced = scores_of(model, BATCH)
            effect = score - replaced
            assert effect.abs().max() > 1e-3
            explained = here.total[:, list(members)].sum(dim=(1, 2))
            assert_close(explained, effect, rtol=0, atol=EXACT)
            assert_close(here.explained[:, group], effect, rtol=0, atol=EXACT)
            assert_close(here.baseline_score[:, group], replaced, rtol=0, atol=1e-10)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_influence_adds_up_to_the_effect_of_ablating_the_layer(architecture):
    model = tiny(architecture, **every_expert(architecture))
    with StayDouble():
        check_complete(model, ("mlp.post",), integrated(), real_positions(BATCH))


@pytest.mark.parametrize("architecture", EVERY_SITE)
def test_influence_is_complete_at_every_site(architecture):
    model = tiny(architecture)
    assert len(model.sites) == (7 if architecture in ("gpt2", "gpt_neox") else 8)
    with StayDouble():
        check_complete(model, model.sites, integrated(), real_positions(BATCH))


def test_influence_is_complete_from_the_mean_over_other_facts():
    model = tiny("llama")
    with StayDouble():
        mean = mean_baseline(model, [batch_of(FACTS[1:2]), batch_of(FACTS[3:])], model.sites)
        check_complete(model, model.sites, integrated(), real_positions(BATCH), baseline=mean)


@pytest.mark.parametrize("architecture", ["llama", "mixtral"])
def test_influence_is_complete_from_a_reference_prompt(architecture):
    model = tiny(architecture, **every_expert(architecture))
    there = Reference("the cat of Spain is")
    with StayDouble():
        check_complete(model, model.sites, integrated(), real_positions(BATCH), baseline=there)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "qwen3_moe"])
def test_the_joint_path_adds_up_to_the_effect_of_ablating_all_layers(architecture):
    model = tiny(architecture, **every_expert(architecture))
    method = integrated(path="joint")
    with StayDouble():
        check_complete(model, ("mlp.post",), method, real_positions(BATCH), groups=[(0, 1)])


@pytest.mark.parametrize("baseline", [Zero(), Reference("the cat of Spain is")], ids=str)
@pytest.mark.parametrize("positions", ["answer", "last"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma3_text"])
def test_only_the_chosen_positions_are_replaced(architecture, positions, baseline):
    model = tiny(architecture)
    position = torch.arange(BATCH.tokens.shape[1] - 1)
    moved = real_positions(BATCH) & (position >= BATCH.prompt_lengths[:, None] - 1)
    if positions == "last":
        moved &= position == BATCH.prompt_lengths[:, None] - 1
    assert moved.sum(dim=1).tolist() == ([1, 2] if positions == "answer" else [1, 1])
    sites = ("mlp.post", "attn.k", "attn.v")
    with StayDouble():
        check_complete(model, sites, integrated(positions=positions), moved, baseline=baseline)


@pytest.mark.parametrize("architecture", EXPERT_ARCHITECTURES)
def test_a_router_that_switches_along_the_path_leaves_a_reported_error(architecture):
    model = tiny(architecture)
    assert model.hf.config.num_experts_per_tok == 2
    method = IntegratedGradients(baseline="zero", tolerance=1e-3, max_steps=192)
    with StayDouble():
        found = method(model, BATCH, ("mlp.post",), Target())["mlp.post"]
        score = scores_of(model, BATCH)
    missing = (score[:, None] - found.baseline_score - found.explained).abs()
    assert missing.max() > 0.1
    spent = found.nodes[missing > method.tolerance]
    assert len(spent) and spent.max() <= method.max_steps and spent.min() > method.steps


def test_few_steps_without_division_are_flagged_as_incomplete():
    model = tiny("llama")
    method = IntegratedGradients(baseline="zero", steps=1, max_steps=1)
    found = method(model, BATCH, ("mlp.post",), Target())["mlp.post"]
    missing = scores_of(model, BATCH)[:, None] - found.baseline_score - found.explained
    assert missing.abs().min() > method.tolerance
    assert (found.nodes == 1).all()


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"steps": 9, "max_steps": 8}, {"tolerance": 0.0}], ids=str
)
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match="`max_steps` of"):
        IntegratedGradients(**settings)
