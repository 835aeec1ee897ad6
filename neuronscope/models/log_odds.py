"""A table of the answers that a model gives, and of their log-odds."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel, answer_logits, frozen
from neuronscope.models.loading import as_model
from neuronscope.models.targets import Answers, Target, answered

BATCH = 32
"""Facts in a pass."""


def log_odds(
    model: HookedModel | str | Path,
    facts: FactSet | Sequence[Fact] | str | Path,
    form: str = "completion",
) -> pd.DataFrame:
    """How strongly a model prefers each fact's answer, and whether it gives it.

    Args:
        model: A model, or what `load_model` loads.
        facts: Facts, or a path from which `load_facts` reads them. Facts without splits count as
            `forget`.
        form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.

    Returns:
        One row per fact: `fact`, `split`, `log_odds` (mean over the answer's tokens, nats per
        token) and `answered` (greedy decoding gives the answer).

    Raises:
        ValueError: If a fact cannot be put to this model.
    """
    model = as_model(model)
    facts = load_facts(facts) if isinstance(facts, str | Path) else facts
    placed = list(facts) if isinstance(facts, FactSet) else [("forget", fact) for fact in facts]
    encoded = [encode(fact, model.tokenizer, form) for _, fact in placed]
    scores: list[float] = []
    given: list[bool] = []
    with frozen(model), torch.no_grad():
        for start in range(0, len(encoded), BATCH):
            batch = Batch.of(encoded[start : start + BATCH], model.device)
            answers = Answers.of(batch)
            logits = answer_logits(model, batch.tokens[:, :-1], answers)
            scores += Target()(logits, answers).tolist()
            given += (answered(logits, answers) > 0).tolist()
    return pd.DataFrame(
        {
            "fact": [fact.id for _, fact in placed],
            "split": [split for split, _ in placed],
            "log_odds": scores,
            "answered": given,
        }
    )
