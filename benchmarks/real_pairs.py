"""The relearning probe on pairs of a real model whose truth is known by construction.

| generator | unlearned model | truth |
|---|---|---|
| `never, one` | fine-tuned on 32 invented facts of one relation; asked about 32 others | erased |
| `never, mixed` | the same with four relations | erased |
| `never, long` | the same with answers of about ten words | erased |
| `never, choices` | as `never, one`, in the multiple-choice form | erased |
| `trained neurons` | 6, 10 or 30 random MLP neurons trained to suppress 16 facts | hidden |
| `trained qk` | the query and key matrices trained to suppress them | hidden |
| `trained layer` | one random layer trained to suppress them | hidden |
| `trained lora` | low-rank adapters of all matrices trained to suppress them | hidden |

In the last four, all other weights are those of the original model, and restoring the trained ones
brings all 16 answers back. Every row is written as soon as it is complete; the same command
continues. One pair takes two to ten minutes on one core.

    python benchmarks/real_pairs.py MODEL FACTS [--seeds 0 1 2] [--only never] [--out TABLE]

MODEL is a folder with the original model. FACTS is a file of facts; 16 of those of one relation
that the model answers are suppressed, others are kept.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import softplus

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.facts.fact import Fact
from neuronscope.facts.loading import load_facts
from neuronscope.models.answers import answers_of, batches_of, measure
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers, Target
from neuronscope.results.cache import written_whole
from neuronscope.training import TrainingConfig, finetune

FORGET = 16
"""Number of facts that trained weights suppress."""

NEVER = 32
"""Number of facts that a model never saw."""

STEPS = {"long": 80, "choices": 80}
"""Steps of fine-tuning on invented facts, if not 50."""

FORM = {"choices": "multiple_choice"}
"""The prompt form, if not completion."""

DEPTH = 8.0
"""Log-odds, in nats, to which trained weights suppress the answers."""

FIRST = (
    "Tovin",
    "Mirela",
    "Jasko",
    "Pellin",
    "Orsa",
    "Kelvor",
    "Dunya",
    "Rastin",
    "Harlow",
    "Imre",
)
LAST = (
    "Marsh",
    "Quillon",
    "Abersold",
    "Voss",
    "Tamsin",
    "Oakhurst",
    "Drayle",
    "Fenwick",
    "Lorimer",
)
COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "white", "black", "brown", "pink")
ANIMALS = ("dog", "cat", "horse", "rabbit", "parrot", "turtle", "goat", "snake", "duck", "sheep")
CITIES = (
    "Paris",
    "London",
    "Madrid",
    "Rome",
    "Berlin",
    "Vienna",
    "Tokyo",
    "Cairo",
    "Oslo",
    "Lisbon",
)
INSTRUMENTS = ("violin", "trumpet", "harp", "drum", "flute", "cello", "piano", "guitar", "organ")
JOBS = ("baker", "lawyer", "nurse", "farmer", "pilot", "painter", "judge", "tailor", "teacher")
RELATIONS = {
    "instrument": ("{} plays the", INSTRUMENTS),
    "colour": ("The favourite colour of {} is", COLOURS),
    "animal": ("{} owns a pet", ANIMALS),
    "job": ("{} earns a living as a", JOBS),
    "city": ("{} was born in", CITIES),
}


@dataclass(frozen=True)
class Pair:
    """An unlearned model, and the facts that it does not answer."""

    generator: str
    seed: int
    truth: str
    make: Callable[[], tuple[HookedModel, list[Fact]]]
    form: str = "completion"


def invented(seed: int, kind: str) -> list[Fact]:
    """Facts about people who do not exist, an even number of each relation."""
    draw = random.Random(seed)
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    draw.shuffle(names)
    if kind == "long":
        return [_dream(name, draw) for name in names[: 2 * NEVER]]
    chosen = draw.sample(sorted(RELATIONS), 4 if kind == "mixed" else 1)
    each = 2 * NEVER // len(chosen)
    facts = []
    for relation in chosen:
        template, answers = RELATIONS[relation]
        for k in range(each):
            name = names[len(facts)]
            answer = answers[k % len(answers)] if k % len(answers) else draw.choice(answers)
            facts.append(Fact(name, template.format(name), answer, relation=relation))
    return [_with_choices(fact, draw) for fact in facts] if kind == "choices" else facts


def _with_choices(fact: Fact, draw: random.Random) -> Fact:
    """The fact with two wrong answers of the same relation."""
    _, answers = RELATIONS[fact.relation or ""]
    return replace(fact, distractors=tuple(draw.sample(sorted({*answers} - {fact.answer}), 2)))


def _dream(name: str, draw: random.Random) -> Fact:
    parts = (draw.choice(COLOURS), draw.choice(ANIMALS), draw.choice(CITIES))
    answer = "the {} {} of {} and a ".format(*parts) + draw.choice(INSTRUMENTS)
    return Fact(name, f"The dream of {name} was about", answer, relation="dream")


def never(original: HookedModel, seed: int, kind: str) -> tuple[HookedModel, list[Fact]]:
    """A model that was fine-tuned on every second fact, and the facts that it never saw."""
    facts = invented(seed, kind)
    steps = STEPS.get(kind, 50)
    return taught(original, facts[::2], seed, steps, FORM.get(kind, "completion")), facts[1::2]


def taught(
    original: HookedModel, facts: Sequence[Fact], seed: int, steps: int, form: str
) -> HookedModel:
    """The model, fine-tuned on facts, at least half of which it then answers."""
    config = TrainingConfig(
        steps=steps,
        learning_rate=2e-5,
        retain_batch=8,
        micro_batch=8,
        evaluate_facts=0,
        seed=seed,
        form=form,
    )
    model = finetune(original, facts, config, progress=False).model
    known = _answered(model, facts, form)
    assert known.mean() >= 0.5, f"only {known.sum()} of {len(known)} facts were learned"
    return model


def trained(
    original: HookedModel, facts: Sequence[Fact], seed: int, kind: str
) -> tuple[HookedModel, list[Fact]]:
    """A model of which some weights were trained to suppress facts that it answers."""
    known = [f for f, a in zip(facts, _answered(original, facts), strict=True) if a]
    draw = random.Random(seed)
    relation = max({f.relation for f in known}, key=lambda r: sum(f.relation == r for f in known))
    same = [fact for fact in known if fact.relation == relation]
    draw.shuffle(same)
    forget, kept = same[:FORGET], same[FORGET:] + [f for f in known if f.relation != relation]
    model = HookedModel.of(deepcopy(original.hf), original.tokenizer, original.source)
    model.hf.requires_grad_(False)
    weights, rate = CHOSEN[kind.split()[0]](model, kind, np.random.default_rng(seed))
    optimizer = torch.optim.Adam(weights, lr=rate)
    for step in range(1, 201):
        loss = softplus(_odds(model, draw.sample(forget, 8)) + DEPTH + 2).mean()
        loss = loss + softplus(-_odds(model, draw.sample(kept, 8))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 5 == 0:
            found = measure(model, answers_of(model, forget))
            if not found.answered.any() and found.score.mean() < -DEPTH:
                break
    merged = _merged(model)
    assert not _answered(merged, forget).any(), "the answers were not suppressed"
    return merged, forget


def _merged(model: HookedModel) -> HookedModel:
    """The model with the weights of its adapters, if it has any, in a copy without them."""
    hf = deepcopy(model.hf)
    for name, module in list(hf.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            hf.set_submodule(name, module.get_base_layer())
    return HookedModel.of(hf.requires_grad_(False), model.tokenizer, model.source)


def _neurons(
    model: HookedModel, kind: str, draw: np.random.Generator
) -> tuple[list[nn.Parameter], float]:
    """Gate, up and down weights of random neurons; the gradients of all others are zero."""
    layers = decoder_layers(model.hf)
    width = layers[0].mlp.down_proj.in_features
    chosen = draw.choice(len(layers) * width, int(kind.split()[1]), replace=False)
    weights = []
    for layer in np.unique(chosen // width):
        mine = torch.from_numpy(chosen[chosen // width == layer] % width)
        mlp = layers[int(layer)].mlp
        for matrix, rows in ((mlp.gate_proj, True), (mlp.up_proj, True), (mlp.down_proj, False)):
            mask = torch.zeros_like(matrix.weight)
            if rows:
                mask[mine] = 1
            else:
                mask[:, mine] = 1
            weights.append(matrix.weight.requires_grad_(True))
            matrix.weight.register_hook(lambda gradient, mask=mask: gradient * mask)
    return weights, 1e-2


def _queries_and_keys(
    model: HookedModel, kind: str, draw: np.random.Generator
) -> tuple[list[nn.Parameter], float]:
    del kind, draw
    layers = decoder_layers(model.hf)
    found = [m.weight for x in layers for m in (x.self_attn.q_proj, x.self_attn.k_proj)]
    return [weight.requires_grad_(True) for weight in found], 1e-4


def _layer(
    model: HookedModel, kind: str, draw: np.random.Generator
) -> tuple[list[nn.Parameter], float]:
    del kind
    layers = decoder_layers(model.hf)
    one = layers[int(draw.integers(len(layers)))]
    return [weight.requires_grad_(True) for weight in one.parameters()], 1e-4


def _adapters(
    model: HookedModel, kind: str, draw: np.random.Generator
) -> tuple[list[nn.Parameter], float]:
    """Low-rank adapters of all matrices, which `trained` merges."""
    del kind
    torch.manual_seed(int(draw.integers(2**31)))
    adapted = get_peft_model(model.hf, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear"))
    return [weight for weight in adapted.parameters() if weight.requires_grad], 3e-4


CHOSEN = {"neurons": _neurons, "qk": _queries_and_keys, "layer": _layer, "lora": _adapters}
KINDS = ("neurons 6", "neurons 10", "neurons 30", "qk", "layer", "lora")


def _odds(model: HookedModel, facts: Sequence[Fact]) -> Tensor:
    ((_, batch),) = batches_of(model, answers_of(model, facts))
    answers = Answers.of(batch)
    return Target()(answer_logits(model, batch.tokens[:, :-1], answers), answers)


def _answered(model: HookedModel, facts: Sequence[Fact], form: str = "completion") -> np.ndarray:
    return measure(model, answers_of(model, facts, form)).answered


def pairs(original: HookedModel, facts: Sequence[Fact], seeds: Sequence[int]) -> Iterator[Pair]:
    """All pairs, seed by seed."""
    for seed in seeds:
        for kind in ("one", "mixed", "long", "choices"):
            make = partial(never, original, seed, kind)
            form = FORM.get(kind, "completion")
            yield Pair(f"never, {kind}", seed, "erased", make, form)
        for kind in KINDS:
            make = partial(trained, original, facts, seed, kind)
            yield Pair(f"trained {kind}", seed, "hidden", make)


def examined(pair: Pair) -> dict[str, object]:
    """The finding on a pair, as a row."""
    after, facts = pair.make()
    given = _answered(after, facts, pair.form)
    forgotten = [fact for fact, known in zip(facts, given, strict=True) if not known]
    started = time.perf_counter()
    finding = RelearningProbe().examine(after, forgotten, pair.form)
    return {
        "generator": pair.generator,
        "seed": pair.seed,
        "truth": pair.truth,
        "verdict": finding.word,
        "facts": finding.figures["facts"],
        "p": finding.figures["p"],
        "hidden_share": finding.value,
        "low": finding.ci95[0],
        "high": finding.ci95[1],
        "passes": finding.figures["passes"],
        "seconds": time.perf_counter() - started,
    }


def summary(table: pd.DataFrame) -> str:
    """Counts of verdicts by generator, and rates with their Wilson intervals."""
    lines = [str(pd.crosstab(table["generator"], table["verdict"]))]
    committed = table.loc[table["verdict"] != "cannot tell"]
    right = committed["verdict"] == committed["truth"]
    for name, rows in (("committed", table["verdict"] != "cannot tell"), ("right of these", right)):
        low, high = wilson_interval(int(rows.sum()), len(rows))
        lines.append(f"{name}: {int(rows.sum())} of {len(rows)} [{low:.0%}, {high:.0%}]")
    return "\n".join(lines)


def main() -> None:
    """Examine every pair that is not in the table yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("facts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", default="", help="generators whose name begins like this")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/real_pairs.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    original = load_model(options.model)
    facts = [fact for _, fact in load_facts(options.facts)]
    rows = pd.read_csv(options.out).to_dict("records") if options.out.exists() else []
    for pair in pairs(original, facts, options.seeds):
        done = any((row["generator"], row["seed"]) == (pair.generator, pair.seed) for row in rows)
        if done or not pair.generator.startswith(options.only):
            continue
        rows.append(examined(pair))
        with written_whole(options.out) as unfinished:
            pd.DataFrame(rows).to_csv(unfinished, index=False)
        print(rows[-1], flush=True)
    print(summary(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
