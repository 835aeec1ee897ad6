"""What the commands do that train a model: check, load, train, write.

Whatever can be wrong with the input is found before a model is loaded, where it can be.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from neuronscope._discover import method_class
from neuronscope.analysis.statistics import wilson_interval
from neuronscope.facts.fact import Fact
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import check_encodable
from neuronscope.models.loading import load_model
from neuronscope.objectives import Objective
from neuronscope.regularizers import Regularizer
from neuronscope.stopping import StopRule
from neuronscope.tasks.checking import tokenizers_of
from neuronscope.tasks.choices import facts_of
from neuronscope.tasks.options import ModelOptions
from neuronscope.training import COUNTED, Run, TrainingConfig, finetune, unlearn
from neuronscope.training.plan import check_folder
from neuronscope.training.room import check_room_for_files

T = TypeVar("T")

SHARED = "seed"
"""The setting of methods that is the run's own."""

Chosen = dict[str, tuple[str, dict[str, Any]]]
"""Of each family (`objectives`, `regularizers`, `stopping`), the method and what it was told."""


def unlearn_model(
    source: str,
    facts: Path,
    out: Path,
    chosen: Chosen,
    training: dict[str, Any],
    loading: ModelOptions,
) -> Run:
    """Make a model forget, and write it with its history to `out`.

    Interrupted, the same call goes on where it was.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    config = TrainingConfig(**training)
    objective = _method("objectives", Objective, chosen, config.seed)
    regularizer = _method("regularizers", Regularizer, chosen, config.seed)
    stop = _method("stopping", StopRule, chosen, config.seed)
    assert objective is not None, "the command line has one"
    given = load_facts(facts)
    objective.check(given)
    if regularizer is not None:
        regularizer.check_facts(given)
    if stop is not None:
        stop.check(given, config.form)
    _check(source, out, [*given.forget, *given.retain], config, loading)
    model = load_model(source, **asdict(loading))
    return unlearn(model, objective, given, regularizer, stop, config, out)


def finetune_model(
    source: str,
    facts: Path,
    out: Path,
    splits: tuple[str, ...],
    teach_end: bool,
    training: dict[str, Any],
    loading: ModelOptions,
) -> Run:
    """Teach a model facts, and write it with its history to `out`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    config = TrainingConfig(**training)
    everything = load_facts(facts)
    taught = [fact for split in splits for fact in facts_of(everything, split)]
    _check(source, out, taught, config, loading)
    model = load_model(source, **asdict(loading))
    return finetune(model, taught, config, out, teach_end=teach_end)


def summary(run: Run) -> tuple[str, ...]:
    """What became of the facts, in a few lines."""
    first, last = run.history.iloc[0], run.history.iloc[-1]
    lines = [run.stopped]
    for split, words in COUNTED.items():
        if not first.get(f"asked_{split}", 0) > 0:
            continue
        asked, before, after = (
            int(row[f"{what}_{split}"])
            for row, what in ((first, "asked"), (first, "answered"), (last, "answered"))
        )
        low, high = wilson_interval(after, asked)
        lines.append(
            f"answers {words}: {before} of {asked} before, {after} of {asked} after (95 % interval "
            f"{low:.0%} to {high:.0%})"
        )
    lines.append(f"way gone: {last['update_norm']:.4g}, in {run.seconds:.0f} s")
    return tuple(lines)


def _method(family: str, base: type[T], chosen: Chosen, seed: int) -> T | None:
    """The method that was chosen, with its settings; None where none was."""
    if family not in chosen:
        return None
    name, told = chosen[family]
    found = method_class(family, name, base)
    assert is_dataclass(found), f"{name}: a method is a frozen dataclass"
    if SHARED in {item.name for item in fields(found)}:
        told = told | {SHARED: seed}
    # What method_class returns is never abstract, which its type cannot say.
    return cast(Callable[..., T], found)(**told)


def _check(
    source: str,
    out: Path,
    facts: Sequence[Fact],
    config: TrainingConfig,
    loading: ModelOptions,
) -> None:
    """Find what is wrong before any weights are read."""
    check_folder(out)
    if config.lora_rank is None:
        check_room_for_files(out, source)
    for tokenizer in tokenizers_of([source], loading):
        check_encodable(facts, tokenizer, config.form)
