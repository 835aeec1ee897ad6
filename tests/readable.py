"""Handmade models whose residual stream directly encodes what they know.

The layers do nothing, so the residual stream is the last token's embedding throughout. The
embedding of a fact's subject, the last token of its prompt, equals the unembedding of its answer.
Three models:

* `knows`: every answer can be read off after every layer.
* `hides`: the same, but the attention of the last layer writes the negative of the stream.
* `never`: the subjects of the facts to be forgotten have random embeddings.
"""

from functools import cache

import torch
from tiny import FOODS, PEOPLE, TOWNS, WORDS, tiny

from neuronscope.evidence._base import Case
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.models.targets import Target

LAYERS, WIDTH = 4, 64

SUBJECTS = ("France", "Spain", "Peru", "cat", "dog", "kitten")
CITIES = ("Paris", "Madrid", "Lima", "Rome", "Oslo", "Bonn")


def wrong(foods, start):
    return tuple(foods[(start + k) % len(foods)] for k in range(3))


FORGET = tuple(
    Fact(f"{who} lives", f"lives {who}", town, wrong(FOODS[:6], i), subject=who, relation="lives")
    for i, (who, town) in enumerate(zip(PEOPLE, TOWNS, strict=True))
)
OTHERS = tuple(
    Fact(f"{what} is", f"of {what}", city, wrong(FOODS[6:], i), subject=what, relation="of")
    for i, (what, city) in enumerate(zip(SUBJECTS, CITIES, strict=True))
)
FACTS = FactSet(forget=FORGET, retain=OTHERS)


def place(word):
    return WORDS.index(word)


@cache
def readable(kind, seed=0):
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "head_dim": WIDTH // 4}
    model = tiny("llama", **sizes, num_key_value_heads=4)
    embed, head = (module.weight for module in (model.hf.get_input_embeddings(), model.hf.lm_head))
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.hf.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        for fact in (*FORGET, *OTHERS):
            embed[place(fact.subject)] = head[place(fact.answer)]
        if kind == "never":
            for fact in FORGET:
                embed[place(fact.subject)].normal_(std=0.4, generator=noise)
        if kind == "hides":
            attention = model.hf.model.layers[-1].self_attn
            attention.q_proj.weight.zero_()  # uniform attention
            attention.v_proj.weight.copy_(torch.eye(WIDTH))
            attention.o_proj.weight.copy_(-4 * torch.eye(WIDTH))
    return model


def case_of(before, after, facts=FACTS, **options):
    return Case(before, after, facts, Target(), **options)


def hooks_of(model):
    """Everything that a view could leave behind: hooks, and replaced forward methods."""
    return [
        (name, kind, len(found))
        for name, module in model.hf.named_modules()
        for kind, found in (
            ("before", module._forward_pre_hooks),
            ("after", module._forward_hooks),
            ("own", [key for key in vars(module) if key == "forward"]),
        )
        if found
    ]
