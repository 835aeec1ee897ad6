"""What each command does, in order: check, compute, write. The command line only parses.

Whatever can be wrong with the input is found before a model is run.
"""

import importlib.metadata
import json
import os
import platform
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from neuronscope._discover import method_class
from neuronscope.analysis.diagnosis import Diagnosis, diagnose
from neuronscope.attribution._base import GIB, Attribution
from neuronscope.attribution._baselines import Baseline, Reference, Zero, mean_baseline
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.fact_formats import load_facts
from neuronscope.facts import SPLITS, Fact, FactSet
from neuronscope.loading import check_source, load_model, load_tokenizer, save_model
from neuronscope.models import HookedModel
from neuronscope.options import MethodOptions, ModelOptions
from neuronscope.prompts import Batch, check_encodable, encode
from neuronscope.recording import record
from neuronscope.report import write_report
from neuronscope.results import Recording
from neuronscope.sites import PAPER_SITES, SITES, check_sites
from neuronscope.targets import Target


@dataclass(frozen=True)
class Diagnosed:
    """A finished diagnosis, and where it lies."""

    diagnosis: Diagnosis
    report: Path


def diagnose_checkpoints(
    before: str,
    after: str,
    facts: Path,
    out: Path,
    split: str,
    null_facts: int | None,
    seed: int,
    attribution: str,
    method: MethodOptions,
    loading: ModelOptions,
) -> Diagnosed:
    """Record both models, compare them, and write recordings, tables, report and manifest.

    Interrupted, the same call goes on where it was.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    began = time.time()
    if (out / "diagnosis.json").exists():
        raise FileExistsError(f"{out} holds a finished diagnosis: choose another --out.")
    chosen = choose_facts(load_facts(facts), split, null_facts, seed)
    sites = chosen_sites(method)
    _check(before, after, chosen, sites, attribution, method, loading)
    out.mkdir(parents=True, exist_ok=True)
    recordings = [
        _recorded(source, out / f"{name}.safetensors", chosen, sites, attribution, method, loading)
        for name, source in (("before", before), ("after", after))
    ]
    diagnosis = diagnose(*recordings)
    diagnosis.neurons.to_parquet(out / "neurons.parquet", index=False)
    write_report(diagnosis, out / "report.html")
    _write_json(out / "manifest.json", _manifest(facts, began, method, loading))
    # Last: a folder with this file holds a whole diagnosis.
    _write_json(out / "diagnosis.json", diagnosis.to_json())
    return Diagnosed(diagnosis, out / "report.html")


def record_model(
    source: str,
    facts: Path,
    out: Path,
    split: str,
    attribution: str,
    per_fact: bool,
    method: MethodOptions,
    loading: ModelOptions,
) -> Recording:
    """Record one model on one split of the facts (`all` for every one), and save it to `out`.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    everything = load_facts(facts)
    chosen = everything if split == "all" else _only(everything, {split: everything.split(split)})
    sites = chosen_sites(method)
    if out.exists():
        raise FileExistsError(f"{out} exists: choose another name, or move it away.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {out.parent} to write {out.name} into.")
    _check(source, source, chosen, sites, attribution, method, loading)
    model = load_model(source, **asdict(loading))
    return record(
        model,
        chosen,
        make_attribution(attribution, method, model, chosen, sites),
        sites,
        make_target(method),
        form=method.prompt_form,
        per_fact=per_fact,
        memory=int(method.memory * GIB),
        out=out,
    )


def convert(source: str, out: Path, loading: ModelOptions) -> tuple[str, ...]:
    """Write any model that can be loaded as a Hugging Face directory; returns what was done to it.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists: choose another directory, or move it away.")
    model = load_model(source, **asdict(loading))
    save_model(model, out)
    return model.notes


def choose_facts(facts: FactSet, split: str, null_facts: int | None, seed: int) -> FactSet:
    """The facts under judgement, and as many drawn from those that were not to be forgotten.

    Args:
        split: The split under judgement; it is recorded as `forget`.
        null_facts: How many others; as many as there are under judgement if not given.

    Raises:
        ValueError: If there are no facts under judgement.
    """
    judged = facts.split(split)
    if not judged:
        found = ", ".join(f"{len(facts.split(name))} {name}" for name in SPLITS)
        raise ValueError(f"{facts.source} has no facts of split {split!r}: it has {found}.")
    count = len(judged) if null_facts is None else null_facts
    # Retained facts first: a method was made to keep those. Utility facts only where no others are.
    for name in ("retain", "test", "utility"):
        others = facts.split(name)
        if name != split and others and count:
            drawn = random.Random(seed).sample(others, min(count, len(others)))
            return _only(facts, {"forget": judged, name: tuple(drawn)})
    return _only(facts, {"forget": judged})


def chosen_sites(method: MethodOptions) -> tuple[str, ...]:
    """The sites that were asked for.

    Raises:
        ValueError: If there is no such site.
    """
    sites = PAPER_SITES if method.sites == ("paper",) else method.sites
    check_sites(sites, SITES, "neuronscope")
    return sites


def make_target(method: MethodOptions) -> Target:
    """The target that was asked for."""
    names = {"log-odds": "log_odds", "log-prob": "log_prob", "prob": "prob", "margin": "margin"}
    return Target(names[method.target], method.reduction)


def make_attribution(
    name: str, method: MethodOptions, model: HookedModel, facts: FactSet, sites: Sequence[str]
) -> Attribution:
    """The attribution method that was asked for, with its settings.

    Raises:
        ValueError: If it has no such setting.
    """
    found = method_class("attribution", name.replace("-", "_"), Attribution)
    given = _given(found, method)
    if found is not IntegratedGradients:
        return found(**given)
    others = [fact for split, fact in facts if split != "forget"]
    baseline = given.pop("baseline", "mean" if others else "zero")
    reference = given.pop("reference", "")
    return found(**given, baseline=_baseline(baseline, reference, model, others, method, sites))


def _given(found: type[Attribution], method: MethodOptions) -> dict[str, object]:
    """The settings that were given on the command line, if the method has them."""
    of_methods = ("steps", "tolerance", "max_steps", "path", "positions", "baseline", "reference")
    given = {
        name: vars(method)[name]
        for name in (*of_methods, "sample")
        if vars(method)[name] is not None
    }
    own = {item.name for item in fields(found)}
    if found is IntegratedGradients:
        own.add("reference")
    for name in given:
        if name not in own:
            raise ValueError(
                f"{found.__name__} has no --{name.replace('_', '-')}: "
                f"it has {', '.join('--' + n.replace('_', '-') for n in sorted(own)) or 'none'}."
            )
    return given


def _baseline(
    name: str,
    reference: str,
    model: HookedModel,
    others: Sequence[Fact],
    method: MethodOptions,
    sites: Sequence[str],
) -> Baseline:
    if name == "zero":
        return Zero()
    if name == "reference":
        return Reference(reference)
    encoded = [encode(fact, model.tokenizer, method.prompt_form) for fact in others]
    batches = [Batch.of(encoded[i : i + 8], model.device) for i in range(0, len(encoded), 8)]
    return mean_baseline(model, batches, sites)


def _check(
    before: str,
    after: str,
    facts: FactSet,
    sites: Sequence[str],
    attribution: str,
    method: MethodOptions,
    loading: ModelOptions,
) -> None:
    """Find what is wrong before any weights are read."""
    _given(method_class("attribution", attribution.replace("-", "_"), Attribution), method)
    reference = (method.baseline == "reference") != bool(method.reference)
    if reference:
        raise ValueError("--baseline reference and --reference PROMPT go together.")
    if method.baseline == "mean" and all(split == "forget" for split, _ in facts):
        raise ValueError(
            f"--baseline mean needs facts that were not to be forgotten, and {facts.source} has "
            "none (or --null-facts is 0): add a retain split, or use --baseline zero."
        )
    if method.target == "margin":
        bare = [fact.id for _, fact in facts if not fact.distractors]
        if bare:
            raise ValueError(f"--target margin needs distractors, and fact {bare[0]!r} has none.")
    for source in dict.fromkeys((before, after)):
        check_source(source, loading.base, loading.allow_pickle)
        tokenizer = load_tokenizer(source, loading.base, loading.trust_remote_code)
        check_encodable([fact for _, fact in facts], tokenizer, method.prompt_form)


def _recorded(
    source: str,
    out: Path,
    facts: FactSet,
    sites: Sequence[str],
    attribution: str,
    method: MethodOptions,
    loading: ModelOptions,
) -> Recording:
    """A model's recording: made, or found from an earlier call that was interrupted."""
    model = load_model(source, **asdict(loading))
    made = make_attribution(attribution, method, model, facts, sites)
    target = make_target(method)
    if out.is_file():
        found = Recording.load(out)
        known = found.provenance
        if (
            known.model_hash != model.fingerprint()
            or known.settings != made.settings()
            or known.target != target.name
            or found.fact_ids != tuple(fact.id for _, fact in facts)
        ):
            raise ValueError(
                f"{out} is a recording of another model, facts or settings: choose another --out."
            )
        return found
    return record(
        model,
        facts,
        made,
        sites,
        target,
        form=method.prompt_form,
        memory=int(method.memory * GIB),
        out=out,
    )
