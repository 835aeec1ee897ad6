"""A table of a model's log-odds for the answers of facts."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import as_model


def log_odds(
    model: HookedModel | str | Path,
    facts: FactSet | Sequence[Fact] | str | Path,
    form: str = "completion",
) -> pd.DataFrame:
    """A model's log-odds for the answer of each fact, and whether it gives the answer.

    Args:
        model: A model, or any source that `load_model` accepts.
        facts: Facts, or a path that `load_facts` reads. Facts without splits count as `forget`.
        form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.

    Returns:
        One row per fact: `fact`, `split`, `log_odds` (mean over the answer's tokens, nats per
        token) and `answered` (greedy decoding produces the answer).

    Raises:
        ValueError: If a fact cannot be encoded with this model's tokenizer.
    """
    model = as_model(model)
    facts = load_facts(facts) if isinstance(facts, str | Path) else facts
    placed = list(facts) if isinstance(facts, FactSet) else [("forget", fact) for fact in facts]
    measured = measure(model, answers_of(model, [fact for _, fact in placed], form))
    return pd.DataFrame(
        {
            "fact": [fact.id for _, fact in placed],
            "split": [split for split, _ in placed],
            "log_odds": measured.score,
            "answered": measured.answered,
        }
    )
