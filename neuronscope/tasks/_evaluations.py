"""Which metrics are computed on which split. Imports torch, so tasks import it when they run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from neuronscope._discover import method_names
from neuronscope.analysis.retention import prompts_of
from neuronscope.facts.fact import SPLITS, Fact, FactSet
from neuronscope.facts.prompts import encode
from neuronscope.metrics import Metric
from neuronscope.tasks._facts import facts_of
from neuronscope.tasks.methods import file_of, several


@dataclass(frozen=True)
class Evaluation:
    """A metric computed on one split."""

    split: str
    facts: tuple[Fact, ...]
    holdout: tuple[Fact, ...]
    metric: Metric

    name: str
    """The metric's name, numbered from its second occurrence on."""


@dataclass(frozen=True)
class Evaluations:
    """The metrics computed on a model."""

    facts: FactSet
    splits: tuple[str, ...]
    every: tuple[Evaluation, ...]

    left_out: tuple[str, ...]
    """A sentence for each metric that is not computed on some split."""


def evaluations_of(
    facts: FactSet,
    metrics: Any = None,
    splits: Sequence[str] = (),
    reference: Any = None,
    holdout_split: str | None = None,
    form: str = "completion",
    tokenizers: Sequence[PreTrainedTokenizerBase] = (),
) -> Evaluations:
    """The metrics to compute, checked without loading a model.

    Args:
        metrics: Methods as `tasks.methods.several` takes them; by default all metrics that the
            facts allow and that generate no text.
        splits: If given, each must allow every named metric; otherwise a metric is computed on
            the splits whose facts allow it.
        reference: The model to compare with, or its path or hub id.
        holdout_split: The split whose facts no model was trained on.
        form: The prompt form.
        tokenizers: The tokenizers of all models, which must be able to encode every fact.

    Raises:
        ValueError: If a split is empty, a fact cannot be encoded, a named metric lacks what it
            needs, or no metric can be computed.
    """
    filled = [split for split in SPLITS if facts.split(split)]
    groups = {split: facts_of(facts, split) for split in splits or filled}
    holdout = () if holdout_split is None else facts_of(facts, holdout_split)
    scored = [*(fact for group in groups.values() for fact in group), *holdout]
    prompts = [fact for _, fact in prompts_of(facts, tuple(groups))]
    _check_tokens([*scored, *prompts], tokenizers, form)
    chosen = several(
        "metrics", method_names("metrics") if metrics is None else metrics, Metric, None
    )
    slow = [file_of(metric) for metric in chosen if metric.generates and metrics is None]
    every: list[Evaluation] = []
    missing: dict[str, list[str]] = {}
    for split, group in groups.items():
        for name, metric in _named(chosen).items():
            if name in slow:
                continue
            one = Evaluation(split, group, holdout, metric, name)
            is_holdout = split == holdout_split and "holdout" in metric.needs
            reason = (
                f"{name}: this split is the holdout."
                if is_holdout
                else _reason(one, reference, tokenizers, form)
            )
            if reason is None:
                every.append(one)
            elif metrics is not None and splits and not is_holdout:
                raise ValueError(f"Split {split}, {reason}")
            else:
                missing.setdefault(reason, []).append(split)
    left_out = [f"{', '.join(of)}, {reason}" for reason, of in missing.items()]
    for name in _named(chosen) if metrics is not None else ():
        if all(one.name != name for one in every):
            raise ValueError(f"{name} cannot be computed on any split. {left_out[0]}")
    if slow:
        left_out.append(f"{', '.join(slow)}: these generate text; name them to compute them.")
    return Evaluations(facts, tuple(groups), tuple(every), tuple(left_out))


def _named(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by name, numbered from the second occurrence of a name on."""
    named: dict[str, Metric] = {}
    for metric in metrics:
        name = file_of(metric)
        count = 1 + sum(type(one) is type(metric) for one in named.values())
        named[name if count == 1 else f"{name}-{count}"] = metric
    return named


def _reason(
    one: Evaluation,
    reference: Any,
    tokenizers: Sequence[PreTrainedTokenizerBase],
    form: str,
) -> str | None:
    """Why a metric cannot be computed on a split, or None if it can."""
    try:
        one.metric.check(one.facts, reference, one.holdout)
        for tokenizer in tokenizers:
            one.metric.check_tokens(one.facts, tokenizer, form)
    except ValueError as error:
        return str(error)
    return None


def _check_tokens(
    facts: Sequence[Fact], tokenizers: Sequence[PreTrainedTokenizerBase], form: str
) -> None:
    """Raise if some model's tokenizer cannot encode a fact."""
    for tokenizer in tokenizers:
        for fact in facts:
            encode(fact, tokenizer, form, fact.answer)
