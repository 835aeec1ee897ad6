"""Diagnoses of small models in which a single neuron is made to hide, or to store, facts.

A model is trained on twenty facts. One of its neurons then gets input weights that activate it at
the positions that predict the answers of the forget set, and the pair of models differs only in its
output weights: zero, towards the answers, or against them. The diagnosis must find which.
"""

import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from tiny import FORGET as LIVES
from tiny import RETAIN as EATS
from tiny import WORDS, batch_of, hf_model, tokenizer
from torch.nn.functional import cross_entropy, one_hot

from neuronscope.analysis.diagnosis import compare
from neuronscope.attribution._record import record
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.facts.fact import FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Answers

SIZES = {
    "gpt2": {"n_embd": 32, "n_inner": 24},
    "llama": {"hidden_size": 32, "intermediate_size": 24, "head_dim": 8},
}
PLANTED = 5
"""Index of the planted neuron in its layer."""

TOWNS, FOODS = (
    tuple(replace(fact, relation=name) for fact in facts)
    for name, facts in (("lives", LIVES), ("eats", EATS))
)
FORGET, RETAIN = TOWNS[:5] + FOODS[:5], TOWNS[5:] + FOODS[5:]
"""Half of the facts of each relation is to be forgotten, the other half are the null facts."""

KNOWN = FactSet(forget=FORGET, retain=RETAIN)
IN_ONE_WORD = FactSet(forget=tuple(replace(fact, answer="Cairo") for fact in FORGET), retain=RETAIN)
"""Facts with a common answer, which a single neuron can store."""

BATCH = batch_of(FORGET + RETAIN)
ANSWERS = Answers.of(BATCH)
FORGETTING = torch.arange(len(BATCH.tokens)) < len(FORGET)
"""Which rows are facts of the forget set."""

every_plant = pytest.mark.parametrize(
    ("architecture", "layer"), [(name, layer) for name in SIZES for layer in (0, 1)]
)


def words(names):
    return torch.tensor([WORDS.index(name) for name in names])


def at_answers(hf):
    logits = hf(input_ids=BATCH.tokens[:, :-1], use_cache=False).logits
    return logits[ANSWERS.row, ANSWERS.position]


@cache
def trained(architecture, knows):
    """A model that answers the null facts right, and the others right or uniformly."""
    hf = hf_model(architecture, torch.float32, **SIZES[architecture])
    for parameter in hf.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    wanted = one_hot(ANSWERS.token, len(WORDS)).float()
    if not knows:
        wanted[FORGETTING] = wanted.mean(dim=0)
    wanted = 0.95 * wanted + 0.05 / len(WORDS)
    optimizer = torch.optim.AdamW(hf.parameters(), lr=5e-3, weight_decay=0.01)
    for _ in range(150):
        loss = cross_entropy(at_answers(hf), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    return hf


def with_neuron(hf, layer, fires, writes):
    """A copy whose planted neuron is active in the rows `fires` and writes `writes`."""
    hf = copy.deepcopy(hf)
    plain = hf.config.model_type == "gpt2"
    mlp = hf.transformer.h[layer].mlp if plain else hf.model.layers[layer].mlp
    seen = []
    first = mlp.c_fc if plain else mlp.gate_proj
    hook = first.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        at_answers(hf)
        hook.remove()
        inputs = seen[0][ANSWERS.row, ANSWERS.position]
        input_weights = torch.linalg.lstsq(inputs, torch.where(fires, 2.0, -2.0)[:, None]).solution
        if plain:
            mlp.c_fc.weight[:, PLANTED], mlp.c_fc.bias[PLANTED] = input_weights[:, 0], 0
            mlp.c_proj.weight[PLANTED] = writes
        else:
            mlp.gate_proj.weight[PLANTED] = input_weights[:, 0]
            mlp.up_proj.weight[PLANTED] = input_weights[:, 0] / 2
            mlp.down_proj.weight[:, PLANTED] = writes
    return HookedModel.of(hf, tokenizer())


def direction(hf, answers, others):
    """The residual direction of norm 1 that raises the answers' logits relative to the others."""
    norm = hf.transformer.ln_f if hf.config.model_type == "gpt2" else hf.model.norm
    head = hf.get_output_embeddings().weight.detach()
    towards = (head[words(answers)].mean(dim=0) - head[words(others)].mean(dim=0)) * norm.weight
    return (towards / towards.norm()).detach()


def diagnosed(before, after, facts, path="per_layer"):
    method = IntegratedGradients(path=path, baseline="zero")
    diagnosis = compare(*(record(m, facts, method, progress=False) for m in (before, after)))
    assert diagnosis.unconverged == 0 and diagnosis.completeness_error < method.tolerance
    return diagnosis


def hidden_pair(architecture, layer, fires=FORGETTING):
    hf = trained(architecture, knows=True)
    writes = -6 * direction(hf, [fact.answer for fact in FORGET], WORDS)
    return with_neuron(hf, layer, fires, 0 * writes), with_neuron(hf, layer, fires, writes)


def erased_pair(architecture, layer):
    hf = trained(architecture, knows=False)
    writes = 4 * direction(hf, ("Cairo",), [fact.answer for fact in FORGET + RETAIN])
    return with_neuron(hf, layer, FORGETTING, writes), with_neuron(
        hf, layer, FORGETTING, 0 * writes
    )


def places(neurons):
    return list(zip(neurons["layer"], neurons["neuron"], strict=True))


def spurious(diagnosis):
    return places(diagnosis.neurons[diagnosis.neurons["spurious"]])


def layer_row(diagnosis, layer):
    return diagnosis.layers.set_index("layer").loc[layer]


@every_plant
def test_a_neuron_that_suppresses_the_answers_ranks_first_and_is_spurious(architecture, layer):
    found = diagnosed(*hidden_pair(architecture, layer), KNOWN)
    assert found.answered_before == 10 and found.answered_after <= 1 and found.drop > 5
    retained = found.facts[found.facts["split"] == "retain"]
    assert retained["answered_before"].all() and retained["answered_after"].all()
    ranked = found.neurons.sort_values("d_minus", ascending=False)
    assert places(ranked)[0] == (layer, PLANTED) and ranked["spurious"].iloc[0]
    assert ranked["d_minus"].iloc[0] > 5 * ranked["d_minus"].iloc[1]
    assert found.reading == "hidden"
    assert layer_row(found, layer)["negative_gained"] == pytest.approx(found.drop, rel=0.2)
    # Neurons of earlier layers, which feed the planted one, share its influence; others do not.
    others = set(spurious(found)) - {(layer, PLANTED)}
    assert {at for at, _ in others} <= set(range(layer))


@every_plant
def test_on_the_joint_path_only_the_planted_neuron_is_spurious(architecture, layer):
    hidden = diagnosed(*hidden_pair(architecture, layer), KNOWN, path="joint")
    assert spurious(hidden) == [(layer, PLANTED)]
    assert hidden.neurons["d_minus"].idxmax() == 24 * layer + PLANTED
    erased = diagnosed(*erased_pair(architecture, layer), IN_ONE_WORD, path="joint")
    assert spurious(erased) == [] and erased.n_null == 10


@every_plant
def test_an_erased_neuron_explains_the_drop_without_spurious_neurons(architecture, layer):
    found = diagnosed(*erased_pair(architecture, layer), IN_ONE_WORD)
    assert found.answered_before == 10 and found.answered_after == 0 and found.drop > 1
    retained = found.facts[found.facts["split"] == "retain"]
    assert retained["answered_before"].all() and retained["answered_after"].all()
    # Neurons of earlier layers that suppress the answer on other paths may be spurious.
    assert {at for at, _ in spurious(found)} <= set(range(layer))
    assert found.reading == "erased" and 10 * found.d_minus_sum < found.d_plus_sum
    row = layer_row(found, layer)
    assert row["positive_lost"] == pytest.approx(found.drop, rel=0.25)
    assert abs(row["elsewhere"]) < 1e-3
    planted = found.neurons.loc[24 * layer + PLANTED]
    # Its influence on single facts may be slightly negative.
    assert planted["d_plus"] > 0.8 * found.drop and planted["d_minus"] < 1e-2 * planted["d_plus"]


@pytest.mark.parametrize("architecture", SIZES)
def test_the_reverse_of_an_erasure_is_not_forgotten(architecture):
    before, after = erased_pair(architecture, 0)
    found = diagnosed(after, before, IN_ONE_WORD)
    assert found.answered_before == 0 and found.answered_after == 10
    assert found.reading == "not forgotten"


@pytest.mark.parametrize("architecture", SIZES)
def test_without_forgotten_facts_no_neuron_is_spurious(architecture):
    before, after = erased_pair(architecture, 0)
    assert spurious(diagnosed(after, before, IN_ONE_WORD)) == []


@pytest.mark.parametrize("architecture", SIZES)
def test_a_neuron_with_the_same_effect_on_all_facts_is_not_spurious(architecture):
    hf = trained(architecture, knows=True)
    everywhere = torch.ones_like(FORGETTING)
    writes = -5 * direction(hf, [fact.answer for fact in FORGET + RETAIN], WORDS)
    pair = [with_neuron(hf, 0, everywhere, amount * writes) for amount in (0, 1)]
    found = diagnosed(*pair, KNOWN)
    assert found.drop > 2
    planted = found.neurons.loc[PLANTED]
    assert planted["d_minus"] == found.neurons["d_minus"].max() > 1
    assert planted["p"] > 0.05 and not planted["spurious"]
