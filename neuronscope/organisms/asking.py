"""What a model makes of facts: how an organism is tried while it is made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel, answer_logits, frozen
from neuronscope.models.targets import Answers, Target, answered

FORM = "completion"
"""How facts are asked: by their prompt."""

LARGEST_BATCH = 128
"""Facts in a pass at most."""


@dataclass(frozen=True)
class Asked:
    """What a model makes of each fact, in their order."""

    score: Float[np.ndarray, " fact"]
    """Log-odds of the answer in nats, mean over its tokens."""

    answered: Bool[np.ndarray, " fact"]
    """Whether greedy decoding gives the answer."""


def ask(model: HookedModel, facts: Sequence[Fact]) -> Asked:
    """Ask a model some facts, as it is now."""
    return reply(model, questions(model, facts))


def questions(model: HookedModel, facts: Sequence[Fact]) -> list[Batch]:
    """The facts as tokens, to be asked more than once."""
    starts = range(0, len(facts), LARGEST_BATCH)
    return [batch_of(model, facts[start : start + LARGEST_BATCH]) for start in starts]


def reply(model: HookedModel, batches: Sequence[Batch]) -> Asked:
    """Ask a model again, as it is now."""
    scores, given = [np.zeros(0)], [np.zeros(0, dtype=bool)]
    with frozen(model), torch.no_grad():
        for batch in batches:
            answers = Answers.of(batch)
            logits = answer_logits(model, batch.tokens[:, :-1], answers)
            scores.append(Target()(logits, answers).double().cpu().numpy())
            given.append(answered(logits, answers).cpu().numpy() > 0)
    return Asked(np.concatenate(scores), np.concatenate(given))


def batch_of(model: HookedModel, facts: Sequence[Fact]) -> Batch:
    """The facts as tokens, where the model is."""
    return Batch.of([encode(fact, model.tokenizer, FORM) for fact in facts], model.device)
