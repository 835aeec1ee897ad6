"""Which neurons are penalized: those of a diagnosis, or random neurons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from steps import attributions, flat, nudge, second_step, step_of, training_state_of
from tiny import FACTS, StayDouble, tiny
from torch.testing import assert_close

from neuronscope.facts.fact import FactSet
from neuronscope.regularizers.random_neurons import RandomNeurons
from neuronscope.regularizers.ssiuu import SSIUU
from neuronscope.regularizers.ssiuu_neurons import SSIUUNeurons


def diagnosis_of(folder, spurious, sites=("mlp.post",), width=12):
    """A table of neurons as a diagnosis writes it."""
    rows = [
        {"site": site, "layer": layer, "neuron": neuron, "spurious": (layer, neuron) in spurious}
        for site in sites
        for layer in range(2)
        for neuron in range(width)
    ]
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / "neurons.parquet", index=False)
    return folder


def test_only_the_neurons_of_a_diagnosis_are_penalized(tmp_path):
    spurious = {(0, 1), (0, 5), (1, 2), (1, 3), (1, 11)}
    folder = diagnosis_of(tmp_path / "diagnosis", spurious)
    model = tiny("llama")
    rule = SSIUUNeurons(scores=folder)
    with StayDouble():
        anchor = attributions(model, FACTS, ("mlp.post",)).sum(0)
        penalty = second_step(rule, model, FACTS)
        now = attributions(model, FACTS, ("mlp.post",)).sum(0)
    mask = torch.zeros(2, 12, dtype=torch.bool)
    mask[tuple(zip(*spurious, strict=True))] = True
    penalized = ((now - anchor) ** 2)[(now < 0) & mask.flatten()]
    assert len(penalized) > 0
    assert_close(penalty.value, float(penalized.sum()))
    share = float((now[mask.flatten()] < 0).double().mean())
    assert_close(penalty.figures["negative_share"], share)
    assert second_step(SSIUUNeurons(), tiny("llama"), FACTS).value > penalty.value
    by_file = replace(rule, scores=folder / "neurons.parquet")
    again = second_step(rule, tiny("llama"), FACTS).value
    assert second_step(by_file, tiny("llama"), FACTS).value == again


def test_other_neurons_have_no_effect(tmp_path):
    folder = diagnosis_of(tmp_path, {(1, 4)})
    rule = SSIUUNeurons(scores=folder)
    values = []
    for others in (1.0, 7.0):
        model = tiny("llama")
        state = rule.start(training_state_of(model), FactSet())
        _, state = rule(step_of(model, FACTS), state)
        anchor = state["attribution/mlp.post"]
        scaled = anchor * others
        scaled[0, 1, 4] = anchor[0, 1, 4]
        nudge(model)
        penalty, _ = rule(step_of(model, FACTS), state | {"attribution/mlp.post": scaled})
        values.append((penalty.value, flat(penalty.gradient, model)))
    assert values[0][0] == values[1][0] > 0
    assert torch.equal(values[0][1], values[1][1])


@pytest.mark.parametrize("method", [SSIUUNeurons, RandomNeurons])
def test_an_unsuitable_table_is_refused(method, tmp_path):
    model = tiny("llama")

    def refused(scores, words, error=ValueError, **options):
        with pytest.raises(error, match=words) as raised:
            method(scores=scores, **options).check(model)
        assert "\n" not in str(raised.value)

    refused(tmp_path / "nowhere", "no table of neurons", FileNotFoundError)
    folder = diagnosis_of(tmp_path / "one", {(0, 1)})
    refused(folder, "has no neurons at 'attn.q'", sites=("attn.q",))
    refused(diagnosis_of(tmp_path / "none", set()), "no neuron at mlp.post spurious")
    refused(diagnosis_of(tmp_path / "wide", {(0, 15)}, width=16), "2 layers of 12")
    refused(Path(__file__), "table of neurons")
    table = pd.read_parquet(folder / "neurons.parquet")
    table.drop(columns=["spurious", "layer"]).to_parquet(folder / "neurons.parquet")
    refused(folder, "no column layer, spurious")


def test_unsuitable_sites_and_kernels_are_refused():
    model = tiny("gpt2")
    with pytest.raises(ValueError, match=r"no neurons at 'mlp\.gate'"):
        SSIUUNeurons(sites=("paper",)).check(model)
    SSIUUNeurons(sites=model.sites).check(model)
    model.hf.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="flash_attention_2"):
        SSIUUNeurons().check(model)
    SSIUUNeurons(order="finite-difference").check(model)
    SSIUU().check(model)


def test_random_neurons_match_the_number_per_layer_and_avoid_spurious_neurons(tmp_path):
    spurious = {(0, 1), (0, 5), (1, 2), (1, 3), (1, 11)}
    folder, model = diagnosis_of(tmp_path, spurious), tiny("llama")
    avoided = torch.zeros(2, 12, dtype=torch.bool)
    avoided[tuple(zip(*spurious, strict=True))] = True
    draws = [
        RandomNeurons(scores=folder, seed=seed).chosen(model)["mlp.post"] for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    for drawn in draws:
        assert drawn.sum(dim=1).tolist() == [2, 3]
        assert not (drawn & avoided).any()
    most = {(layer, neuron) for layer in range(2) for neuron in range(10)}
    crowded = RandomNeurons(scores=diagnosis_of(tmp_path, most)).chosen(model)["mlp.post"]
    assert crowded.sum(dim=1).tolist() == [10, 10] and crowded[:, 10:].all()


def test_random_neurons_by_number_are_spread_evenly():
    model = tiny("llama")
    drawn = RandomNeurons(count=11, sites=("mlp.post", "attn.k")).chosen(model)
    assert [mask.sum(dim=1).tolist() for mask in drawn.values()] == [[3, 3], [3, 2]]
    other = RandomNeurons(count=11, seed=1, sites=("mlp.post", "attn.k")).chosen(model)
    assert any(not torch.equal(drawn[site], other[site]) for site in drawn)
    with pytest.raises(ValueError, match=r"count=25 .* 12"):
        RandomNeurons(count=25).check(model)
    with pytest.raises(ValueError, match="count of 1 or more"):
        RandomNeurons(count=0)


def test_drawing_all_neurons_is_ssiuu_and_drawn_neurons_count_like_a_diagnosis(tmp_path):
    def outcome(rule):
        model = tiny("llama")
        penalty = second_step(rule, model, FACTS)
        return penalty.value, flat(penalty.gradient, model)

    (all_of_them, gradient) = outcome(RandomNeurons(count=24))
    (expected, expected_gradient) = outcome(SSIUUNeurons())
    assert all_of_them == expected > 0 and torch.equal(gradient, expected_gradient)

    drawn = RandomNeurons(count=9).chosen(tiny("llama"))["mlp.post"]
    chosen = {tuple(place) for place in np.argwhere(drawn.numpy()).tolist()}
    folder = diagnosis_of(tmp_path, chosen)
    (some, gradient) = outcome(RandomNeurons(count=9))
    (expected, expected_gradient) = outcome(SSIUUNeurons(scores=folder))
    assert some == expected > 0 and torch.equal(gradient, expected_gradient)
