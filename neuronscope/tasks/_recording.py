"""Recording a model for a task. Imports torch, so tasks import this module only when they run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from neuronscope.attribution import GIB, Attribution, provenance_of, record
from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import check_encodable, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target, TargetName
from neuronscope.results.recording import Provenance, Recording
from neuronscope.tasks._measuring import Measuring
from neuronscope.tasks._models import tokenizers_of
from neuronscope.tasks._task import Loading
from neuronscope.tasks.methods import made

DECIDE = ("model_hash", "facts_hash", "attribution", "settings", "target", "prompt_form", "dtype")
"""The provenance fields that determine a recording's numbers."""


def target_of(how: Measuring) -> Target:
    """The target that is attributed to neurons.

    Raises:
        ValueError: If the target does not exist.
    """
    names: dict[str, TargetName] = {name: name for name in get_args(TargetName)}
    wanted = how.target.replace("-", "_")
    if wanted not in names:
        raise ValueError(f"No target {how.target!r}: expected one of {', '.join(names)}.")
    return Target(names[wanted], how.reduction)


def attribution_of(choice: Any, seed: int | None) -> Attribution:
    """The attribution method of a task.

    Raises:
        ValueError: If the method or a setting does not exist, or a setting is out of range.
    """
    method = made("attribution", choice, Attribution, seed)
    if method is None:
        raise ValueError("Expected an attribution, got None.")
    return method


def check_recording(
    facts: FactSet,
    attribution: Attribution,
    how: Measuring,
    loading: Loading,
    models: Sequence[Any],
) -> None:
    """Check that the facts can be recorded on every model, before any weights are read.

    Raises:
        ValueError, FileNotFoundError: If a setting, model or fact is unsuitable.
    """
    target_of(how)
    _ = how.chosen_sites
    attribution.check(facts)
    if not how.memory > 0:
        raise ValueError(f"Expected memory of more than 0 GiB, got {how.memory}.")
    bare = [fact.id for _, fact in facts if not fact.distractors]
    if how.target == "margin" and bare:
        raise ValueError(f"The target margin needs distractors, and fact {bare[0]!r} has none.")
    tokenizers = tokenizers_of(models, loading)
    for tokenizer in tokenizers:
        check_encodable([fact for _, fact in facts], tokenizer, how.form)
    for _, fact in facts:
        if len({encode(fact, words, how.form) for words in tokenizers}) > 1:
            raise ValueError(
                f"Fact {fact.id!r} has different tokens for {models[0]} and {models[-1]}, so their "
                "results would not be comparable. Give both models the same tokenizer."
            )


def recorded(
    model: HookedModel,
    facts: FactSet,
    attribution: Attribution,
    how: Measuring,
    per_fact: bool = True,
    out: Path | None = None,
    known: Path | None = None,
    neutral: Sequence[Fact] | None = None,
) -> Recording:
    """Record a model and save the recording, or load the recording of an interrupted run.

    Args:
        known: The path of an existing recording, to use instead.
        neutral: As for `attribution.record`.

    Raises:
        ValueError: If the existing recording has another model, facts or settings.
    """
    if out is not None and out.is_file():
        return Recording.load(out)
    if known is not None:
        ready = attribution.prepared(model, facts, how.chosen_sites, how.form, neutral)
        wanted = provenance_of(model, facts, ready, target_of(how), how.form)
        return _known(known, wanted, how.chosen_sites)
    return record(
        model,
        facts,
        attribution,
        how.chosen_sites,
        target_of(how),
        form=how.form,
        neutral=neutral,
        per_fact=per_fact,
        memory=int(how.memory * GIB),
        out=out,
    )


def _known(path: Path, wanted: Provenance, sites: tuple[str, ...]) -> Recording:
    recording = Recording.load(path)
    same = all(vars(recording.provenance)[name] == vars(wanted)[name] for name in DECIDE)
    if not same or tuple(recording.sites) != sites:
        raise ValueError(
            f"{path} is a recording of a different model, or of other facts or settings."
        )
    return recording
