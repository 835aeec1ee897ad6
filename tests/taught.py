"""A tiny model that knows some facts, and one that does not."""

from collections.abc import Sequence

import torch
from tiny import tiny

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers, log_prob


def taught(
    facts: Sequence[Fact], steps: int = 40, form: str = "completion", **changes: object
) -> HookedModel:
    """A random model, trained until greedy decoding gives the facts' answers."""
    model = tiny("llama", **changes)
    batch = Batch.of([encode(fact, model.tokenizer, form) for fact in facts], "cpu")
    answers = Answers.of(batch)
    model.hf.requires_grad_(True)
    optimizer = torch.optim.Adam(model.hf.parameters(), lr=0.02)
    for _ in range(steps):
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
        optimizer.zero_grad()
        (-log_prob(logits, answers.token).mean()).backward()
        optimizer.step()
    optimizer.zero_grad()
    return model
