"""Which facts a model answers, by the strata of `analysis/retention.py`."""

from collections.abc import Sequence

import pandas as pd

from neuronscope.analysis.retention import prompts_of, stratum
from neuronscope.facts.fact import FactSet
from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.results.retention_table import ANSWERS, ANY, PARAPHRASED, TRAINED, USES


def answers(
    model: HookedModel,
    facts: FactSet,
    form: str = "completion",
    splits: Sequence[str] = USES,
) -> pd.DataFrame:
    """Which facts a model answers under greedy decoding, word for word.

    Args:
        form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.
        splits: The splits to evaluate; the strata always depend on the facts to be forgotten.

    Returns:
        Columns `ANSWERS`: one row per fact to be kept, and one row per stratum (trained prompt,
        paraphrases, any prompt) for facts to be forgotten.

    Raises:
        ValueError: If a fact cannot be encoded.
    """
    prompts = prompts_of(facts, splits)
    if not prompts:
        return pd.DataFrame(columns=list(ANSWERS))
    given = measure(model, answers_of(model, [fact for _, fact in prompts], form)).answered
    by_fact: dict[tuple[str, str], list[bool]] = {}
    for (split, fact), known in zip(prompts, given, strict=True):
        by_fact.setdefault((split, fact.id), []).append(bool(known))
    rows = []
    for split, fact in (pair for pair in facts if (pair[0], pair[1].id) in by_fact):
        known, *elsewhere = by_fact[split, fact.id]
        if split != "forget":
            rows.append((fact.id, split, stratum(fact, facts.forget), known))
            continue
        rows.append((fact.id, split, TRAINED, known))
        if elsewhere:
            rows.append((fact.id, split, PARAPHRASED, any(elsewhere)))
            rows.append((fact.id, split, ANY, known or any(elsewhere)))
    return pd.DataFrame(rows, columns=list(ANSWERS))
