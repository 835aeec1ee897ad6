"""What is asked of a model that is scored, found out before it is loaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from transformers import PreTrainedTokenizerBase

from neuronscope._discover import method_class, method_names
from neuronscope.analysis.retention import prompts_of
from neuronscope.facts.fact import SPLITS, Fact, FactSet
from neuronscope.facts.prompts import encode
from neuronscope.metrics import Metric
from neuronscope.models.hooked_model import HookedModel
from neuronscope.tasks.choices import facts_of


@dataclass(frozen=True)
class Wanted:
    """A metric that is to be had of the facts of a split."""

    split: str
    facts: tuple[Fact, ...]
    holdout: tuple[Fact, ...]

    name: str
    """The metric's file."""

    metric: Metric


@dataclass(frozen=True)
class Questions:
    """What is asked of a model."""

    facts: FactSet
    splits: tuple[str, ...]
    wanted: tuple[Wanted, ...]

    form: str
    """How a fact is put to the model."""

    left_out: tuple[str, ...]
    """A sentence for each metric that is not to be had."""


def questions_of(
    facts: FactSet,
    metrics: Sequence[str] = (),
    splits: Sequence[str] = (),
    reference: HookedModel | str | None = None,
    holdout_split: str | None = None,
    form: str = "completion",
    tokenizers: Sequence[PreTrainedTokenizerBase] = (),
) -> Questions:
    """What is to be asked, checked as far as that can be done without a model.

    Args:
        metrics: By their files' names; none: those that read and do not write, as far as they are
            to be had.
        splits: None: all that have facts.
        reference: The model to compare with, or its source while it is not loaded.
        holdout_split: The split whose facts no model saw.
        form: How a fact is put to the model.
        tokenizers: Of all models: every fact must be fit for them.

    Raises:
        ValueError: If a split is empty, a fact cannot be put into tokens, a metric that was named
            is not to be had, or none is.
    """
    having = [split for split in SPLITS if facts.split(split)]
    asked = {split: facts_of(facts, split) for split in splits or having}
    held = () if holdout_split is None else facts_of(facts, holdout_split)
    _check_tokens([*(fact for group in asked.values() for fact in group), *held], tokenizers, form)
    _check_tokens([fact for _, fact in prompts_of(facts, tuple(asked))], tokenizers, form)
    every = {name: _metric(name) for name in metrics or method_names("metrics")}
    slow = [name for name, metric in every.items() if metric.generates and not metrics]
    wanted: list[Wanted] = []
    missing: dict[str, list[str]] = {}
    for split, of_split in asked.items():
        for name, metric in every.items():
            one = Wanted(split, of_split, held, name, metric)
            if name in slow:
                continue
            if split == holdout_split and "holdout" in metric.needs:
                missing.setdefault(f"{name}: these facts are the holdout.", []).append(split)
                continue
            reason = _reason(one, reference, tokenizers, form)
            if reason is None:
                wanted.append(one)
            elif metrics:
                raise ValueError(f"Split {split}, {reason}")
            else:
                missing.setdefault(reason, []).append(split)
    left_out = [f"{', '.join(of)}, {reason}" for reason, of in missing.items()]
    if not wanted:
        raise ValueError(f"Nothing is to be scored. {left_out[0]}")
    if slow:
        left_out.append(f"{', '.join(slow)}: these have the model write; name them to have them.")
    return Questions(facts, tuple(asked), tuple(wanted), form, tuple(left_out))


def _reason(
    one: Wanted,
    reference: HookedModel | str | None,
    tokenizers: Sequence[PreTrainedTokenizerBase],
    form: str,
) -> str | None:
    """Why a metric is not to be had, or None."""
    try:
        one.metric.check(one.facts, reference, one.holdout)
        for tokenizer in tokenizers:
            one.metric.check_tokens(one.facts, tokenizer, form)
    except ValueError as error:
        return str(error)
    return None


def _metric(name: str) -> Metric:
    # What method_class returns is never abstract, which its type cannot say.
    return cast(Callable[[], Metric], method_class("metrics", name, Metric))()


def _check_tokens(
    facts: Sequence[Fact], tokenizers: Sequence[PreTrainedTokenizerBase], form: str
) -> None:
    """Refuse facts that no metric could be had of."""
    for tokenizer in tokenizers:
        for fact in facts:
            encode(fact, tokenizer, form, fact.answer)
