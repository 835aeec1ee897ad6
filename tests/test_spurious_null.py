"""On a trained model, facts that nothing singled out have no spurious neurons.

Three kinds of change leave the facts of a relation alike: noise on the weights, training on
something else, and unlearning another relation. Within each relation, facts are labelled at random
as to be forgotten, and any neuron found is a false discovery.
"""

import copy

import numpy as np
import pytest
import torch
from demo_pair import AFTER, BEFORE, FACTS

from neuronscope.analysis.spurious import permutation_test
from neuronscope.attribution._record import record
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model
from neuronscope.models.targets import Answers, Target

RELATIONS = ("job", "land")
"""The tested relations. The demo pair unlearned towns."""

LABELLINGS = 40
FACTS_BY_RELATION = {
    name: [fact for _, fact in load_facts(FACTS) if fact.relation == name]
    for name in (*RELATIONS, "pet")
}
TESTED = [fact for name in RELATIONS for fact in FACTS_BY_RELATION[name]]
relation_of = np.array([fact.relation for fact in TESTED])


def opposition(model):
    """The smallest influence of each neuron at any position, by [fact, neuron]."""
    recorded = record(model, TESTED, GradientXActivation(), progress=False)
    return recorded.sites["mlp.post"].negative.reshape(len(TESTED), -1).astype(np.float64)


def noisy(before, after, seed):
    """The model with noise on every weight, as large as the change of that matrix."""
    generator = torch.Generator().manual_seed(seed)
    hf = copy.deepcopy(before.hf)
    changed = dict(after.hf.named_parameters())
    with torch.no_grad():
        for name, weight in hf.named_parameters():
            noise = torch.randn(weight.shape, generator=generator)
            weight += noise * (changed[name] - weight).norm() / noise.norm()
    return HookedModel.of(hf, before.tokenizer)


def trained_on_pets(before):
    """The model after a few steps of further training on the pets of all persons."""
    hf = copy.deepcopy(before.hf)
    encoded = [encode(fact, before.tokenizer, "completion") for fact in FACTS_BY_RELATION["pet"]]
    batch = Batch.of(encoded, torch.device("cpu"))
    answers = Answers.of(batch)
    optimizer = torch.optim.AdamW(hf.parameters(), lr=1e-4)
    for _ in range(5):
        logits = hf(input_ids=batch.tokens[:, :-1], use_cache=False).logits
        (-Target()(logits[answers.row, answers.position], answers)).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return HookedModel.of(hf, before.tokenizer)


def discoveries(growth, seed):
    """The number of neurons found if a random half of each relation is called forgotten."""
    rng = np.random.default_rng(seed)
    forget = np.zeros(len(TESTED), dtype=bool)
    for name in RELATIONS:
        own = rng.permutation(np.flatnonzero(relation_of == name))
        forget[own[: len(own) // 2]] = True
    return int((permutation_test(growth, forget, relation_of)[1] <= 0.05).sum())


@pytest.mark.slow
def test_facts_that_nothing_singled_out_have_no_spurious_neurons():
    before, after = load_model(BEFORE), load_model(AFTER)
    start = opposition(before)
    changes = {
        "noise": noisy(before, after, 0),
        "other training": trained_on_pets(before),
        "other unlearning": after,
    }
    for kind, changed in changes.items():
        growth = start - opposition(changed)
        assert np.abs(growth).max() > 1e-4, kind
        found = [discoveries(growth, seed) > 0 for seed in range(LABELLINGS)]
        assert np.mean(found) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / LABELLINGS), kind
