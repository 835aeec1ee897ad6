"""What a model answers, fact by fact, in the strata of `analysis/retention.py`."""

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
    """What a model answers, fact by fact: greedy decoding, word for word.

    Args:
        form: How a fact is put to it, one of `neuronscope.facts.prompts.PROMPT_FORMS`.
        splits: Which are asked; what was to be forgotten decides the strata in any case.

    Returns:
        Columns `ANSWERS`. A row per fact to be kept; for those to be forgotten one per way of
        asking.

    Raises:
        ValueError: If a fact cannot be put into tokens.
    """
    asked = prompts_of(facts, splits)
    if not asked:
        return pd.DataFrame(columns=list(ANSWERS))
    given = measure(model, answers_of(model, [fact for _, fact in asked], form)).answered
    by_fact: dict[tuple[str, str], list[bool]] = {}
    for (split, fact), known in zip(asked, given, strict=True):
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
