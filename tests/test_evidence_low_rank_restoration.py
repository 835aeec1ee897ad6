"""Low-rank restoration recovers planted changes of low rank, and gives the right verdicts."""

import math

import pandas as pd
import pytest
import torch
from test_evidence_weight_path import changed, jittered
from tiny import PEOPLE, WORDS, every_expert, tiny

from neuronscope.evidence import _undoing
from neuronscope.evidence._base import Case
from neuronscope.evidence._low_rank import DENSE, matrices
from neuronscope.evidence.low_rank_restoration import (
    LowRankRestoration,
    _word,
    alpha_of_half,
    rank_too_small,
)
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.direct_logit_effect import promoted
from neuronscope.models.hook_points import hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import neuron_weights
from neuronscope.models.targets import Target
from neuronscope.results.findings import Finding

QUICK = LowRankRestoration(ranks=(1, 2, 4), alphas=(0.5, 1.0), draws=2, blocks=2, shown=6)


def known_to(model):
    """Facts that the model answers: its own completions for each person, for two relations."""
    said = {}
    for split, prompt in (("forget", "{} lives in"), ("retain", "{} eats")):
        facts = []
        for who in PEOPLE:
            tokens = model.tokenizer(prompt.format(who), return_tensors="pt")["input_ids"]
            with torch.no_grad():
                logits = model.hf(input_ids=tokens).logits[0, -1]
            logits[: WORDS.index("the") + 1] = -math.inf
            answer = WORDS[int(logits.argmax())]
            facts.append(Fact(f"{who} {split}", prompt.format(who), answer))
        said[split] = tuple(facts)
    return FactSet(**said)


def case_of(before, after, facts=None):
    return Case(before, after, facts or known_to(before), Target())


def only_matrices(model, by=0.3):
    """The model with noise added to its layers' matrices only."""
    generator = torch.Generator().manual_seed(5)
    hf = changed(model, lambda name, p: None).hf
    other = HookedModel.of(hf, model.tokenizer)
    with torch.no_grad():
        for matrix in matrices(other):
            parameter = hf.get_parameter(matrix.parameter)
            values = matrix.of(parameter)
            noise = torch.randn(values.shape, generator=generator, dtype=values.dtype)
            matrix.put(parameter, values + by * noise)
    return other


def read_before_answers(model, layer):
    """The mean input of the down-projections of a layer at the positions that predict answers."""
    (hook_point,) = [
        hook_point for hook_point in model.hook_points_at("mlp.post") if hook_point.layer == layer
    ]
    prompts = [fact.prompt for fact in known_to(model).forget]
    tokens = model.tokenizer(prompts, return_tensors="pt")["input_ids"]
    kept = {}
    with torch.no_grad(), hooked(keeping([hook_point], kept), tokens.shape[1]):
        model.hf(input_ids=tokens)
    return kept[hook_point][:, -1].mean(dim=0)


def planted(before, word, strength, layer=1):
    """A model in which one down-projection writes a token wherever an answer is predicted.

    The change has rank 1 and reads the mean input of the matrix at these positions.
    """
    matrix = next(m for m in matrices(before) if (m.module, m.layer) == ("mlp.down", layer))
    read = read_before_answers(before, layer)
    if matrix.expert != DENSE:
        read = read[matrix.neurons]
    head = before.hf.get_output_embeddings().weight.detach()[WORDS.index(word)]

    def change(name, parameter):
        if name == matrix.parameter:
            added = strength * torch.outer(head, read / read.square().sum())
            matrix.put(parameter, matrix.of(parameter) + added)

    return changed(before, change)


@pytest.fixture(scope="module")
def before():
    return tiny("llama")


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "phi3", "mixtral"])
def test_a_planted_change_of_rank_one_is_hidden_and_fully_restored_at_rank_one(architecture):
    before = tiny(architecture, **every_expert(architecture))
    after = planted(before, "the", 1000.0)
    case = case_of(before, after)
    assert case.forgotten.sum() >= 6
    finding = QUICK(case)
    assert (finding.word, finding.value) == ("hidden", 1.0)
    assert finding.figures["rank_one"] == 1 and finding.figures["rank_half"] == 1
    assert finding.figures["energy"] == pytest.approx(1, rel=1e-6)
    ranks = finding.tables["ranks"]
    own = ranks[(ranks["control"] == -1) & (ranks["split"] == "forget")].set_index("rank")
    assert own.loc[0, "answered"] == 0 and own.loc[1, "answered"] == case.forgotten.sum()
    assert own.loc[1, "target"] == pytest.approx(case.at_first.score[case.forgotten].mean())
    (top,) = (row for _, row in finding.tables["directions"].iterrows())
    assert (top["module"], top["layer"], top["direction"]) == ("mlp.down", 1, 0)
    assert top["share"] == pytest.approx(1)
    assert top["suppressed"].startswith("'the'")


def test_noise_in_all_directions_is_not_hidden():
    before = tiny("llama", hidden_size=64, intermediate_size=96, head_dim=16)
    case = case_of(before, only_matrices(before))
    assert case.forgotten.sum() >= 8
    finding = QUICK(case)
    assert finding.word in ("erased", "mixed") and finding.value < 0.5
    assert finding.figures["all_of_every_matrix"] == 1
    assert finding.figures["energy"] < 0.5


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "mixtral"])
def test_restoring_a_direction_that_suppressed_a_token_promotes_it(architecture):
    before = tiny(architecture, **every_expert(architecture))
    after = planted(before, "kitten", -1000.0)
    case = case_of(before, after)
    top = QUICK(case).tables["directions"].iloc[0]
    assert top["promoted"].startswith("'kitten'") and "'kitten'" not in top["suppressed"]
    read = read_before_answers(before, 1)
    if top["expert"] != DENSE:
        own = next(o for o in neuron_weights(before) if (o.module, o.layer) == ("mlp.down", 1))
        owner = own.owner[top["expert"]]
        strongest = int(owner[read[owner].abs().argmax()])
    else:
        strongest = int(read.abs().argmax())
    assert top["site"] == "mlp.post" and int(top["neurons"].split(", ")[0]) == strongest


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama", "gemma2", "gpt_neox"])
def test_promoted_tokens_use_the_final_norms_weight_and_the_unembedding(architecture):
    model = tiny(architecture)
    norm = next(
        module
        for name, module in model.hf.named_modules()
        if name.endswith(("ln_f", "final_layer_norm", "model.norm")) and "layers." not in name
    )
    torch.nn.init.normal_(norm.weight)
    direction = torch.randn(2, 16, dtype=torch.float64)
    weight = norm.weight.detach() + (1 if architecture == "gemma2" else 0)
    seen = direction
    if isinstance(norm, torch.nn.LayerNorm):
        seen = direction - direction.mean(dim=-1, keepdim=True)
    expected = (seen * weight) @ model.hf.get_output_embeddings().weight.detach().T
    found = promoted(model, direction)
    cosine = torch.nn.functional.cosine_similarity(found, expected, dim=-1)
    torch.testing.assert_close(cosine, torch.ones(2, dtype=torch.float64), rtol=0, atol=1e-6)


def test_neurons_of_attention_own_the_columns_that_a_direction_reads(before):
    after = changed(before, lambda name, p: p[:, 9].add_(3) if "1.self_attn.o_proj" in name else 0)
    top = QUICK(case_of(before, after)).tables["directions"].iloc[0]
    assert (top["module"], top["layer"], top["site"]) == ("attn.o", 1, "attn.v")
    own = next(o for o in neuron_weights(before) if (o.module, o.layer) == ("attn.o", 1))
    assert int(top["neurons"].split(", ")[0]) == int(own.owner[9])


def test_both_models_are_unchanged_even_if_a_pass_fails(before, monkeypatch):
    after = jittered(before, by=3.0)
    case = case_of(before, after)
    prints, state = (before.fingerprint(), after.fingerprint()), torch.get_rng_state()
    assert QUICK(case).tables
    assert (before.fingerprint(), after.fingerprint()) == prints
    original = _undoing.Undoing.low_rank

    def failing(self, directions, rank):
        original(self, directions, rank)
        raise RuntimeError("stop")

    monkeypatch.setattr(_undoing.Undoing, "low_rank", failing)
    with pytest.raises(RuntimeError, match="stop"):
        QUICK(case)
    assert (before.fingerprint(), after.fingerprint()) == prints
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_pre_hooks for module in after.hf.modules())


def test_findings_are_deterministic_and_can_be_saved(before, tmp_path):
    case = case_of(before, jittered(before, by=3.0))
    steps = []
    finding = QUICK(case, lambda done, total: steps.append((done, total)))
    assert steps == [(done, steps[-1][1]) for done in range(1, steps[-1][1] + 1)]
    finding.save(tmp_path / "low_rank_restoration", "this")
    loaded = Finding.load(tmp_path / "low_rank_restoration", "this")
    again = QUICK(case)
    for name, table in finding.tables.items():
        pd.testing.assert_frame_equal(table, again.tables[name])
        pd.testing.assert_frame_equal(table, loaded.tables[name], check_dtype=False)
    assert again.why == finding.why == loaded.why


def test_without_forgotten_facts_there_is_no_value(before):
    finding = QUICK(case_of(before, before))
    assert finding.word == "not forgotten" and math.isnan(finding.value) and not finding.tables


def test_a_change_of_the_unembedding_is_restored_at_no_rank_and_has_a_warning(before):
    after = changed(before, lambda name, p: p.mul_(-1) if "lm_head" in name else None)
    finding = QUICK(case_of(before, after))
    assert finding.word == "cannot tell" and finding.figures["energy_outside"] == 1
    assert "embeddings" in finding.warnings[0]
    assert finding.tables["directions"].empty and "neurons" in finding.tables["directions"]
    parts = finding.tables["parts"].set_index(["part", "split"])
    assert parts.loc[("everything else", "forget"), "share"] == 1
    assert parts.loc[("mlp.down", "forget"), "share"] == 0


@pytest.mark.parametrize(
    ("answered", "random", "word"),
    [
        ((0, 12, 14, 16, 16), 0.0, "hidden"),
        ((0, 2, 3, 8, 16), 0.0, "hidden"),
        ((0, 12, 14, 16, 16), 0.25, "cannot tell"),
        ((0, 0, 0, 3, 16), 0.0, "mixed"),
        ((0, 0, 0, 0, 16), 0.0, "erased"),
        ((0, 0, 0, 0, 7), 0.0, "cannot tell"),
    ],
)
def test_the_verdict_depends_on_the_answers_recovered_at_a_small_rank(answered, random, word):
    own = pd.DataFrame({"rank": (0, 1, 2, 4, 576), "answered": answered, "total": 16})
    own["share"] = own["answered"] / 16
    assert _word(own.set_index("rank"), 4, random)[0] == word


def test_a_rank_is_too_small_with_four_facts_per_direction_and_never_above_four():
    found = {facts: rank_too_small((1, 2, 4, 8, 16), facts) for facts in (4, 7, 8, 15, 16, 400)}
    assert found == {4: 1, 7: 1, 8: 2, 15: 2, 16: 4, 400: 4}
    assert rank_too_small((1, 3), 16) == 3


def test_the_alpha_of_half_the_answers_is_interpolated():
    table = pd.DataFrame({"split": "forget", "alpha": [0.0, 0.4, 0.6], "share": [0.0, 0.4, 0.8]})
    assert alpha_of_half(table) == pytest.approx(0.45)
    assert alpha_of_half(table.assign(share=[0.5, 0.9, 1.0])) == 0
    assert math.isnan(alpha_of_half(table.assign(share=0.1)))


@pytest.mark.parametrize(
    "settings",
    [
        {"ranks": ()},
        {"ranks": (2, 4)},
        {"ranks": (1, 4, 4)},
        {"alphas": (0.5,)},
        {"alphas": (0.0, 1.0)},
        {"draws": 0},
        {"blocks": 0},
        {"shown": 0},
    ],
)
def test_invalid_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        LowRankRestoration(**settings)


def test_models_of_other_shapes_and_facts_without_any_to_forget_are_refused(before):
    with pytest.raises(ValueError, match="cannot be exchanged"):
        QUICK(case_of(before, tiny("llama", intermediate_size=8)))
    retained = FactSet(retain=known_to(before).retain)
    with pytest.raises(ValueError, match="forget"):
        QUICK(case_of(before, before, retained))
