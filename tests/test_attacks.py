"""Attacks recover hidden facts but none that were never learned, and change no model."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from tiny import FORGET, RETAIN, tiny

from neuronscope._discover import method_class, method_names
from neuronscope.attacks._base import Attack
from neuronscope.attacks._instructions import OWN, load_instructions
from neuronscope.attacks._recovery import recovery
from neuronscope.attacks.noise import Noise
from neuronscope.attacks.prune import Prune
from neuronscope.attacks.quantize import Quantize, rounded
from neuronscope.attacks.relearn_benign import RelearnBenign
from neuronscope.attacks.relearn_forget import RelearnForget
from neuronscope.attacks.relearn_splits import RelearnSplits
from neuronscope.facts.fact import FactSet
from neuronscope.organisms.organism import erased, hidden
from neuronscope.organisms.training import OrganismTraining
from neuronscope.organisms.world import TOWNS

FACTS = FactSet(forget=tuple(FORGET), retain=tuple(RETAIN))
SHORT = {"learning_rates": (1e-3,), "seeds": (0,), "steps": 3, "epochs": 0, "evaluate_every": 1}


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory):
    """A diagnosis of the tiny model in which neuron 3 of each layer is spurious."""
    model = tiny("llama")
    layers, width = model.n_layers, model.hook_points_at("mlp.post")[0].width
    places = [(layer, neuron) for layer in range(layers) for neuron in range(width)]
    table = pd.DataFrame(places, columns=["layer", "neuron"]).assign(site="mlp.post")
    table = table.assign(spurious=lambda t: t["neuron"] == 3, d_minus=lambda t: t["neuron"] / 10)
    path = tmp_path_factory.mktemp("diagnosis") / "neurons.parquet"
    table.to_parquet(path)
    return path


@pytest.fixture(scope="module")
def instructions(tmp_path_factory):
    """Instructions in words that the tiny tokenizer knows."""
    rows = [{"instruction": fact.prompt, "input": "", "output": fact.answer} for fact in RETAIN]
    path = tmp_path_factory.mktemp("instructions") / "instructions.json"
    path.write_text(json.dumps(rows))
    return path


@pytest.fixture(scope="module")
def attacks(diagnosis, instructions):
    return {
        "relearn_forget": RelearnForget(count=2, **SHORT),
        "relearn_benign": RelearnBenign(items=4, data=instructions, **SHORT),
        "relearn_splits": RelearnSplits(splits=2, **SHORT),
        "quantize": Quantize(),
        "prune": Prune(scores=diagnosis),
        "noise": Noise(),
    }


def test_every_attack_is_tried_here(attacks):
    assert set(attacks) == set(method_names("attacks"))
    for name, attack in attacks.items():
        assert type(attack) is method_class("attacks", name, Attack)


@pytest.mark.parametrize("name", method_names("attacks"))
def test_attacks_leave_the_models_unchanged_and_are_reproducible(attacks, name):
    model, control = tiny("llama"), tiny("llama")
    prints = model.fingerprint(), control.fingerprint()
    table = attacks[name](model, FACTS, {"original": control})
    assert (model.fingerprint(), control.fingerprint()) == prints
    assert set(table["model"]) == {"attacked checkpoint", "original"}
    pd.testing.assert_frame_equal(table, attacks[name](model, FACTS, {"original": control}))
    assert (table["low"] <= table["correct"] / table["n"] + 1e-12).all()
    # The attack had an effect: the answers' log-odds changed after the first evaluation.
    rest = table.loc[(table["split"] == "rest") & (table["model"] == "attacked checkpoint")]
    assert rest["score"].nunique() > 1


def most_recovered(organism, training):
    """Largest recovered share of the rest, for the attacked and for a model that never knew."""
    attack = RelearnForget(count=4, learning_rates=(1e-3,), seeds=(0,), steps=12, evaluate_every=1)
    never = erased(training).after
    table = attack(organism.after, organism.facts, {"never_knew": never})
    rest = recovery(table).query("split == 'rest'").set_index("model")
    return rest["maximum"], table


def test_hidden_facts_recover_and_erased_facts_do_not():
    training = OrganismTraining(0, gated=True)
    most, table = most_recovered(hidden(training, 2.0, 10), training)
    assert most["attacked checkpoint"] >= 0.75 > 0.5 > most["never_knew"]
    start = table.loc[(table["step"] == 0) & (table["split"] == "rest")]
    assert start["correct"].max() <= 0.25 * start["n"].max()
    most, _ = most_recovered(erased(training), training)
    assert most["attacked checkpoint"] < 0.5


def p_of_guessing(model, forget):
    """p-value of the number of held-out answers under guessing among four candidates."""
    attack = RelearnSplits(splits=4, learning_rates=(1e-3,), steps=40, batch=8, evaluate_every=10)
    found = recovery(attack(model, FactSet(forget=forget))).set_index("split")
    assert found.loc["attacked", "learnt"] and found.loc["rest", "n"] == 16
    back = int(found.loc["rest", "maximum_correct"])
    return binomtest(back, 16, 1 / 4, alternative="greater").pvalue


@pytest.mark.slow
def test_independent_parts_teach_nothing_to_a_model_that_never_knew():
    training = OrganismTraining(0)
    forget = training.world.facts.forget
    never = training.never_knew(frozenset(fact.id for fact in forget))
    # Each town is the home of one person: after training on twelve, four candidates remain.
    assert p_of_guessing(never, forget) > 0.5
    # The same test detects hidden facts, and a leak: persons of one first name share a town.
    assert p_of_guessing(hidden(training, 2.0, 10).after, forget) < 0.01
    first_names = sorted({fact.subject.split()[0] for fact in forget})
    homes = dict(zip(first_names, TOWNS, strict=False))
    leaking = tuple(
        replace(fact, answer=homes[fact.subject.split()[0]], distractors=()) for fact in forget
    )
    assert p_of_guessing(never, leaking) < 0.01


def test_many_attacked_facts_take_more_steps():
    attack = RelearnForget(count=5, **(SHORT | {"steps": 2, "epochs": 4}))
    table = attack(tiny("llama"), FACTS)
    assert table["step"].max() == 5 and table["epoch"].max() == 4
    assert RelearnForget(**SHORT).updates(1000) == 3


def test_without_steps_nothing_changes():
    table = RelearnForget(count=2, **(SHORT | {"steps": 0}))(tiny("llama"), FACTS)
    assert set(table["step"]) == {0}


def test_first_run_of_the_hardest_attack_returns_the_model_evaluated_at_its_end():
    attack = RelearnForget(count=2, **SHORT | {"learning_rates": (1e-4, 1e-2), "seeds": (1, 0)})
    model = tiny("llama")
    print_before = model.fingerprint()
    scene = attack.scene(model, FACTS, "completion", "completion")
    attacked = attack.hardest().first_run(model, scene).model
    assert model.fingerprint() == print_before != attacked.fingerprint()
    own = attack(model, FACTS).query("lr == 1e-2 and seed == 1")
    ended = own.loc[own["step"] == own["step"].max()]
    # Evaluated again without another step, the attacked model has the score of the run's end.
    again = replace(attack, steps=0)(attacked, FACTS).query("lr == 1e-2 and seed == 1")
    assert again["score"].tolist() == pytest.approx(ended["score"].tolist(), abs=1e-9)
    assert not np.allclose(own.loc[own["step"] == 0, "score"], ended["score"])


def test_rounding_misses_by_half_a_level_at_most_in_every_channel():
    weight = torch.randn(5, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight[0] *= 100
    for bits in (8, 4):
        level = weight.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        miss = (rounded(weight, bits, inputs=1) - weight).abs()
        assert (miss <= level / 2 * (1 + 1e-12)).all() and (miss > level / 10).any()
        assert (torch.unique((rounded(weight, bits, 1) / level).round()).abs() < 2**bits).all()
    assert torch.equal(rounded(torch.zeros(2, 3), 4, inputs=1), torch.zeros(2, 3))


def test_instructions_are_read_in_three_forms(tmp_path):
    own = load_instructions(OWN)
    assert len(own.facts) == 60 and own.empty == 0
    alpaca = [
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hello.", "input": "", "output": ""},
    ]
    (tmp_path / "alpaca.json").write_text(json.dumps(alpaca))
    read = load_instructions(tmp_path / "alpaca.json")
    assert [fact.answer for fact in read.facts] == ["3"] and read.empty == 1
    assert "1 and 2" in read.facts[0].prompt
    seed = {"instruction": "Add.", "instances": [{"input": "2 and 2", "output": "4"}]}
    (tmp_path / "seed.jsonl").write_text(json.dumps(seed) + "\n")
    assert [fact.answer for fact in load_instructions(tmp_path / "seed.jsonl").facts] == ["4"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RelearnForget(share=1.5), "below 1"),
        (lambda: RelearnSplits(splits=1), "2 or more"),
        (lambda: Quantize(bits=(1,)), "from 2 to 16"),
        (lambda: RelearnForget(learning_rates=()), "learning_rates"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def rows(model, split, counts, n):
    return pd.DataFrame(
        {
            "attack": "relearn_forget", "model": model, "variant": "", "lr": 1.0, "seed": 0,
            "fold": 0, "epoch": 0.0, "step": range(len(counts)), "budget": range(len(counts)),
            "split": split, "correct": counts, "n": n, "score": 0.0, "low": 0.0, "high": 1.0,
            "note": "",
        }
    )  # fmt: skip


def test_recovery_is_placed_between_the_controls():
    table = pd.concat(
        [
            rows("attacked checkpoint", "attacked", [0, 2, 2], 2),
            rows("attacked checkpoint", "rest", [0, 6, 4], 8),
            rows("original", "rest", [8, 8, 8], 8),
            rows("never_knew", "rest", [0, 0, 4], 8),
        ]
    )
    found = recovery(table)
    rest = found.loc[(found["model"] == "attacked checkpoint") & (found["split"] == "rest")].iloc[0]
    assert (rest["before"], rest["maximum"], rest["final"]) == (0, 0.75, 0.5)
    # Trapezoids over budgets 0, 1, 2: (0 + .75)/2 + (.75 + .5)/2, over a length of 2.
    assert rest["area"] == pytest.approx(0.5)
    assert rest["recovered"] == pytest.approx((0.75 - 0.5) / (1 - 0.5))
    assert rest["maximum_low"] < 0.75 < rest["maximum_high"]
    alone = recovery(table.loc[table["model"] == "attacked checkpoint"])
    assert np.isnan(alone["recovered"]).all() and alone["reason"].str.len().min() > 0
