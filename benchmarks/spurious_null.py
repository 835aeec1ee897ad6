"""How often the test for spurious neurons finds any where there are none, on a real model.

Every kind of change treats all facts of the examined relation alike, so each neuron that the test
calls spurious is a false positive:

| change | how it is made |
|---|---|
| `noise` | Gaussian noise in every parameter, with the norm of that parameter's change |
| `fine-tuned` | fine-tuned on unrelated instructions, scaled to the norm of the whole change |
| `unlearned` | the unlearned model itself, on a relation of which no fact was to be forgotten |

The norms are those of the change from MODEL to UNLEARNED. Half of the facts of a relation are
called the forget set: a random half, for which the test is exact; those whose answers have the
highest log-odds; or the first in alphabetical order of their prompts. The latter two show how far
the test can be trusted if a forget set was not drawn at random. Influences are gradient x
activation on the log-odds, at all MLP neurons. Takes about half an hour on one core for a model of
135M parameters.

    python benchmarks/spurious_null.py MODEL UNLEARNED FACTS [--seeds 0 1 2 3 4 5]
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float

import neuronscope as ns
from neuronscope.analysis.influence_variation import changes_by_fact
from neuronscope.analysis.spurious import FAMILY_WISE_ERROR, permutation_test
from neuronscope.analysis.statistics import wilson_interval
from neuronscope.attacks._instructions import OWN, load_instructions
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.comparison import Comparison
from neuronscope.training import TrainingConfig, finetune

FEWEST = 12
"""Only relations with at least this many facts are examined."""


def copy_of(model: HookedModel) -> HookedModel:
    """A copy with its own parameters."""
    return HookedModel.of(deepcopy(model.hf), model.tokenizer, model.source)


def change(before: HookedModel, after: HookedModel) -> dict[str, torch.Tensor]:
    """The change of every parameter, by name."""
    old = dict(before.hf.named_parameters())
    return {name: (p - old[name]).detach() for name, p in after.hf.named_parameters()}


def norm(tensors: Sequence[torch.Tensor]) -> float:
    """The norm of all entries together."""
    return float(np.sqrt(sum(float(tensor.norm()) ** 2 for tensor in tensors)))


def noisy(before: HookedModel, size: dict[str, torch.Tensor], seed: int) -> HookedModel:
    """The model with noise of the same norm as the change of each parameter."""
    after, generator = copy_of(before), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in after.hf.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (float(size[name].norm()) / float(noise.norm())))
    return after


def tuned(before: HookedModel, size: dict[str, torch.Tensor], seed: int) -> HookedModel:
    """The model, moved as far towards one that was fine-tuned on instructions."""
    config = TrainingConfig(
        steps=20, learning_rate=2e-6, retain_batch=4, evaluate_facts=0, seed=seed
    )
    texts = load_instructions(OWN).facts
    moved = change(before, finetune(before, texts, config, progress=False).model)
    scale = norm(list(size.values())) / norm(list(moved.values()))
    after = copy_of(before)
    with torch.no_grad():
        for name, parameter in after.hf.named_parameters():
            parameter.add_(moved[name] * scale)
    return after


def growth(
    before: ns.Recording, after: HookedModel, facts: FactSet
) -> Float[np.ndarray, "fact neuron"]:
    """The growth of each neuron's negative influence on each fact."""
    recorded = ns.record(after, facts, "gradient-x-activation")
    every = np.ones(len(before.splits), dtype=bool)
    terms = changes_by_fact(Comparison(before, recorded), every)
    return np.hstack([gained for _, gained in terms])


def halves(facts: Sequence[Fact], scores: Float[np.ndarray, " fact"], seed: int) -> dict[str, Any]:
    """The ranks of facts by which the first half is chosen, by name of the choice."""
    prompts = np.argsort(np.argsort([fact.prompt for fact in facts]))
    return {
        "random": np.random.default_rng(seed).permutation(len(facts)),
        "log-odds": np.argsort(np.argsort(-scores)),
        "alphabetical": prompts,
    }


def main() -> None:
    """Test every change on every relation, and print and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("unlearned")
    parser.add_argument("facts", help="the facts that UNLEARNED was to forget and to keep")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4, 5])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/spurious_null.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    before, unlearned = ns.load_model(options.model), ns.load_model(options.unlearned)
    placed = list(ns.load_facts(options.facts))
    forgotten = {fact.relation for split, fact in placed if split == "forget"}
    facts = FactSet(forget=tuple(fact for _, fact in _large(placed)))
    relations = np.array([fact.relation for fact in facts.forget])
    recorded = ns.record(before, facts, "gradient-x-activation")
    size, rows = change(before, unlearned), []
    for kind, make in (("noise", noisy), ("fine-tuned", tuned), ("unlearned", None)):
        for seed in options.seeds if make else [0]:
            after = make(before, size, seed) if make else unlearned
            grown = growth(recorded, after, facts)
            for relation in dict.fromkeys(relations):
                if make is None and relation in forgotten:
                    continue
                own = np.flatnonzero(relations == relation)
                ranks = halves([facts.forget[k] for k in own], recorded.score[own], seed)
                for half, rank in ranks.items():
                    found = spurious(grown[own], rank < len(own) // 2)
                    rows.append((kind, seed, relation, len(own), grown.shape[1], half, found))
                    print(*rows[-1], flush=True)
    columns = ["change", "seed", "relation", "facts", "neurons", "forget set", "found"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(options.out, index=False)
    for names, own in table.groupby(["forget set", "change"], sort=False):
        positive, total = int((own["found"] > 0).sum()), len(own)
        low, high = wilson_interval(positive, total)
        print(*names, f"{positive} of {total} [{low:.0%}, {high:.0%}]")


def spurious(grown: Float[np.ndarray, "fact neuron"], forget: Bool[np.ndarray, " fact"]) -> int:
    """The number of neurons that the test finds on the facts of one relation."""
    _, q = permutation_test(grown, forget, np.zeros(len(grown)))
    return int((q <= FAMILY_WISE_ERROR).sum())


def _large(placed: Sequence[tuple[str, Fact]]) -> list[tuple[str, Fact]]:
    """The facts of relations with enough of them."""
    names = [fact.relation for _, fact in placed]
    return [(split, fact) for split, fact in placed if names.count(fact.relation) >= FEWEST]


if __name__ == "__main__":
    main()
