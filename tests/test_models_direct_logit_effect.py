"""Direct logit effects of neurons equal plain matrix algebra on tiny models."""

import pandas as pd
import pytest
import torch
from tiny import WORDS, tiny

from neuronscope.models.direct_logit_effect import neuron_tokens


def neurons_of(site="mlp.post", layers=(0, 1), neurons=(0, 5, 11)):
    return pd.DataFrame(
        [{"site": site, "layer": layer, "neuron": neuron} for layer in layers for neuron in neurons]
    )


def columns_written(model, layer):
    """What each neuron writes, row by row, from the weights under their own names."""
    weights = dict(model.hf.named_parameters())
    if "transformer.h.0.mlp.c_proj.weight" in weights:  # a Conv1D, which stores it transposed
        return weights[f"transformer.h.{layer}.mlp.c_proj.weight"]
    if "model.layers.0.mlp.experts.down_proj" in weights:
        experts = weights[f"model.layers.{layer}.mlp.experts.down_proj"]
        return torch.cat([expert.T for expert in experts])
    return weights[f"model.layers.{layer}.mlp.down_proj.weight"].T


def last_norm(model, written):
    """The last norm of one vector, up to a positive factor, from its weight alone."""
    weights = dict(model.hf.named_parameters())
    if "transformer.ln_f.weight" in weights:
        return (written - written.mean(-1, keepdim=True)) * weights["transformer.ln_f.weight"]
    return written * weights["model.norm.weight"]


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3_moe"])
def test_tokens_are_those_of_the_output_weights_through_norm_and_unembedding(architecture):
    model = tiny(architecture)
    for name, parameter in model.hf.named_parameters():
        if name in ("model.norm.weight", "transformer.ln_f.weight"):
            torch.nn.init.uniform_(parameter, 0.5, 2.0)
    chosen = neurons_of()
    table = neuron_tokens(model, chosen, count=3)
    assert table[["site", "layer", "neuron"]].values.tolist() == chosen.values.tolist()
    unembedding = model.hf.get_output_embeddings().weight.detach()
    for row in table.to_dict("records"):
        with torch.no_grad():
            written = columns_written(model, row["layer"])[row["neuron"]]
            effect = unembedding @ last_norm(model, written)
        order = effect.argsort(descending=True).tolist()
        assert row["promotes"] == [WORDS[token] for token in order[:3]]
        assert row["suppresses"] == [WORDS[token] for token in order[:-4:-1]]


def test_a_neuron_made_to_write_a_token_promotes_it_and_the_norms_weight_counts():
    model = tiny("llama")
    token = WORDS.index("Paris")
    down = model.hf.get_parameter("model.layers.1.mlp.down_proj.weight")
    unembedding = model.hf.get_output_embeddings().weight
    with torch.no_grad():
        model.hf.get_parameter("model.norm.weight").fill_(1.0)
        down[:, 4] = unembedding[token]
    chosen = neurons_of(layers=(1,), neurons=(4,))
    assert neuron_tokens(model, chosen).loc[0, "promotes"][0] == "Paris"
    with torch.no_grad():
        model.hf.get_parameter("model.norm.weight").fill_(-1.0)
    assert neuron_tokens(model, chosen).loc[0, "suppresses"][0] == "Paris"


def test_only_writing_neurons_are_read_and_the_model_stays_unchanged():
    model = tiny("llama")
    print_before = model.fingerprint()
    chosen = pd.concat([neurons_of("attn.q", neurons=(1,)), neurons_of(neurons=(7, 2, 7))])
    table = neuron_tokens(model, chosen, count=100)
    assert table["neuron"].tolist() == [2, 7, 2, 7]
    assert all(sorted(tokens) == sorted(WORDS) for tokens in table["promotes"])
    assert neuron_tokens(model, neurons_of("attn.q")).empty
    assert model.fingerprint() == print_before
    assert all(parameter.grad is None for parameter in model.hf.parameters())
