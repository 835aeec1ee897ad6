"""What the commands do that look at models, in order: check, compute, write.

Whatever can be wrong with the input is found before a model is run.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from neuronscope.analysis.diagnosis import Diagnosis, diagnose
from neuronscope.attribution import GIB, check_out, provenance_of, record
from neuronscope.evidence import Case, ask_named, views_called
from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import check_encodable, encode
from neuronscope.models.direct_logit_effect import neuron_tokens
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import check_same_shapes
from neuronscope.models.loading import load_model, load_tokenizer, save_model
from neuronscope.models.sources import check_device, check_source
from neuronscope.report import diagnosis_json, write_report
from neuronscope.report.explorer import explorer_with_tokens
from neuronscope.results.cache import write_json
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording
from neuronscope.tasks.choices import (
    check_method,
    choose_facts,
    chosen_sites,
    facts_of,
    make_attribution,
    make_target,
    only,
)
from neuronscope.tasks.manifest import describe
from neuronscope.tasks.options import MethodOptions, ModelOptions


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
    views: tuple[str, ...],
    method: MethodOptions,
    loading: ModelOptions,
) -> Diagnosed:
    """Record both models, compare them, and write recordings, tables, report and manifest.

    Interrupted, the same call goes on where it was.

    Args:
        views: Of the causes (`causal.py`), by name, or `all`, or `none`; asked where one model's
            weights can stand for the other's, and where they cannot, a warning says so. Without
            `savings` there is no verdict.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: What is wrong with the input, in one line.
    """
    began = time.time()
    asked_views = views_called(views)
    if attribution == "ablation":
        raise ValueError(
            "Ablation measures a sample of neurons, and a diagnosis needs every one: use another "
            "--attribution, or `neuronscope record` for the sample."
        )
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: choose a folder for --out.")
    if (out / "diagnosis.json").exists():
        raise FileExistsError(f"{out} holds a finished diagnosis: choose another --out.")
    chosen = choose_facts(load_facts(facts), split, null_facts, seed)
    sites = chosen_sites(method)
    _check(before, after, chosen, attribution, method, loading)
    asked = (chosen, sites, attribution, method, loading)
    # One model at a time: the one before is not kept.
    first = _recorded(before, out / "before.safetensors", *asked)[0]
    second, last = _recorded(after, out / "after.safetensors", *asked)
    diagnosis = diagnose(first, second)
    if asked_views:
        comparison = Comparison(first, second)
        diagnosis = _with_causes(
            diagnosis, comparison, before, last, chosen, out, views, method, loading
        )
    diagnosis.neurons.to_parquet(out / "neurons.parquet", index=False)
    written = partial(neuron_tokens, last)
    seen = explorer_with_tokens(first, second, diagnosis.neurons, written)
    write_report(diagnosis, out / "report.html", explorer=seen)
    chosen_method = {"attribution": attribution, "method": asdict(method), "views": list(views)}
    manifest = describe(began) | {"facts": str(facts), "loading": asdict(loading)} | chosen_method
    write_json(out / "manifest.json", manifest)
    # Last: a folder with this file holds a whole diagnosis.
    write_json(out / "diagnosis.json", diagnosis_json(diagnosis))
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
    chosen = (
        everything if split == "all" else only(everything, {split: facts_of(everything, split)})
    )
    sites = chosen_sites(method)
    check_out(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {out.parent} to write {out.name} into.")
    _check(source, source, chosen, attribution, method, loading)
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


def _check(
    before: str,
    after: str,
    facts: FactSet,
    attribution: str,
    method: MethodOptions,
    loading: ModelOptions,
) -> None:
    """Find what is wrong before any weights are read."""
    check_method(attribution, method, facts)
    check_device(loading.device, loading.device_map)
    tokenizers = []
    for source in dict.fromkeys((before, after)):
        check_source(source, loading.base, loading.allow_pickle)
        tokenizers.append(load_tokenizer(source, loading.base, loading.trust_remote_code))
        check_encodable([fact for _, fact in facts], tokenizers[-1], method.prompt_form)
    for _, fact in facts:
        if len({encode(fact, words, method.prompt_form) for words in tokenizers}) > 1:
            raise ValueError(
                f"Fact {fact.id!r} becomes other tokens for {after} than for {before}: their "
                "numbers could not be compared. Give both models the same tokenizer."
            )


def _recorded(
    source: str,
    out: Path,
    facts: FactSet,
    sites: Sequence[str],
    attribution: str,
    method: MethodOptions,
    loading: ModelOptions,
) -> tuple[Recording, HookedModel]:
    """A model's recording, made, or found from an earlier call that was interrupted; and itself."""
    found = Recording.load(out) if out.is_file() else None
    model = load_model(source, **asdict(loading))
    made = make_attribution(attribution, method, model, facts, sites)
    target = make_target(method)
    if found is not None:
        wanted = provenance_of(model, facts, made, target, method.prompt_form)
        if found.provenance != wanted or tuple(found.sites) != tuple(sites):
            raise ValueError(
                f"{out} is a recording of another model, facts or settings: choose another --out."
            )
        return found, model
    recording = record(
        model,
        facts,
        made,
        sites,
        target,
        form=method.prompt_form,
        memory=int(method.memory * GIB),
        out=out,
    )
    return recording, model


def _with_causes(
    diagnosis: Diagnosis,
    comparison: Comparison,
    before: str,
    last: HookedModel,
    facts: FactSet,
    out: Path,
    views: tuple[str, ...],
    method: MethodOptions,
    loading: ModelOptions,
) -> Diagnosis:
    """The diagnosis with its causes tested, on both models at once."""
    first = load_model(before, **asdict(loading))
    try:
        check_same_shapes(first, last)
    except ValueError as error:
        return diagnosis.with_note(f"The causes were not tested: {error}")
    case = Case(first, last, facts, make_target(method), method.prompt_form)
    asked = ask_named(views, case, comparison, diagnosis.neurons, out / "evidence")
    return diagnosis.with_findings(*asked)
