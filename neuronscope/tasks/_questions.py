"""Which metrics are computed on which split; imports torch, so tasks import it when they run."""

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
class Question:
    """A metric that is computed on one split."""

    split: str
    facts: tuple[Fact, ...]
    holdout: tuple[Fact, ...]
    metric: Metric

    name: str
    """The metric's file; with a number from its second appearance on."""


@dataclass(frozen=True)
class Questions:
    """What a model is asked."""

    facts: FactSet
    splits: tuple[str, ...]
    asked: tuple[Question, ...]

    left_out: tuple[str, ...]
    """A sentence for each metric that is not computed on some split."""


def questions_of(
    facts: FactSet,
    metrics: Any = None,
    splits: Sequence[str] = (),
    reference: Any = None,
    holdout_split: str | None = None,
    form: str = "completion",
    tokenizers: Sequence[PreTrainedTokenizerBase] = (),
) -> Questions:
    """What is asked, checked as far as that can be done without a model.

    Args:
        metrics: Several methods, as `tasks.methods.several` takes them; if not given, all that
            the facts allow and that generate no text.
        splits: If given, each has to allow every metric that was named; otherwise a metric is
            computed on the splits with facts that allow it.
        reference: The model to compare with, or where it can be loaded from.
        holdout_split: The split whose facts no model saw.
        form: How a fact is put to the model.
        tokenizers: Those of all models: every fact must be fit for them.

    Raises:
        ValueError: If a split is empty, a fact cannot be put into tokens, or a metric that was
            named, or every metric, lacks what it needs.
    """
    having = [split for split in SPLITS if facts.split(split)]
    groups = {split: facts_of(facts, split) for split in splits or having}
    held = () if holdout_split is None else facts_of(facts, holdout_split)
    put = [*(fact for group in groups.values() for fact in group), *held]
    _check_tokens([*put, *(fact for _, fact in prompts_of(facts, tuple(groups)))], tokenizers, form)
    every = several(
        "metrics", method_names("metrics") if metrics is None else metrics, Metric, None
    )
    slow = [file_of(metric) for metric in every if metric.generates and metrics is None]
    asked: list[Question] = []
    missing: dict[str, list[str]] = {}
    for split, group in groups.items():
        for name, metric in _named(every).items():
            if name in slow:
                continue
            one = Question(split, group, held, metric, name)
            held_out = split == holdout_split and "holdout" in metric.needs
            reason = (
                f"{name}: these facts are the holdout."
                if held_out
                else _reason(one, reference, tokenizers, form)
            )
            if reason is None:
                asked.append(one)
            elif metrics is not None and splits and not held_out:
                raise ValueError(f"Split {split}, {reason}")
            else:
                missing.setdefault(reason, []).append(split)
    left_out = [f"{', '.join(of)}, {reason}" for reason, of in missing.items()]
    for name in _named(every) if metrics is not None else ():
        if all(one.name != name for one in asked):
            raise ValueError(f"{name} cannot be computed on any split. {left_out[0]}")
    if slow:
        left_out.append(f"{', '.join(slow)}: these generate text; name them to compute them.")
    return Questions(facts, tuple(groups), tuple(asked), tuple(left_out))


def _named(metrics: Sequence[Metric]) -> dict[str, Metric]:
    """Metrics by name; from its second appearance on, a metric's name has a number."""
    named: dict[str, Metric] = {}
    for metric in metrics:
        name = file_of(metric)
        count = 1 + sum(type(one) is type(metric) for one in named.values())
        named[name if count == 1 else f"{name}-{count}"] = metric
    return named


def _reason(
    one: Question,
    reference: Any,
    tokenizers: Sequence[PreTrainedTokenizerBase],
    form: str,
) -> str | None:
    """Why a metric cannot be computed on a split, or None."""
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
    """Refuse facts that cannot be put into some model's tokens."""
    for tokenizer in tokenizers:
        for fact in facts:
            encode(fact, tokenizer, form, fact.answer)
