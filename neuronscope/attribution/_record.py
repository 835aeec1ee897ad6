"""Record a model's neurons on a set of facts, in batches that can be resumed.

While a recording is written to a file, its finished batches are in the folder `NAME.partial` next
to it. After an interruption, the same command loads them instead of computing them again, and the
resulting file is identical byte for byte.
"""

import importlib.metadata
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from neuronscope.attribution._base import GIB, Attribution
from neuronscope.attribution._plan import AVERAGED, Plan, make_plan
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.display import say, showing_progress
from neuronscope.facts.fact import Fact, FactSet, facts_hash
from neuronscope.facts.prompts import Batch, Encoded, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits, frozen
from neuronscope.models.sites import check_sites
from neuronscope.models.targets import Answers, Target, answered
from neuronscope.results.cache import Workspace, open_pieces
from neuronscope.results.recording import Provenance, Recording
from neuronscope.results.site_recording import SiteMeans, SiteRecording

if TYPE_CHECKING:
    from neuronscope.models.hooked_model import TransformerBridge


T = TypeVar("T", SiteRecording, SiteMeans)

Arrays = dict[str, np.ndarray]
"""The arrays of one batch, by `site.field`, or by field if they belong to no site."""

Labelled = Sequence[tuple[str, Fact]]
"""Facts, each with the name of its split."""


BY_DEFAULT = IntegratedGradients()


@dataclass(frozen=True, eq=False)
class _Inputs:
    """Everything that the results of a batch depend on."""

    model: HookedModel
    encoded: Sequence[Encoded]
    attribution: Attribution
    sites: tuple[str, ...]
    target: Target
    per_fact: bool
    plan: Plan


def record(
    model: "HookedModel | TransformerBridge",
    facts: FactSet | Sequence[Fact],
    attribution: Attribution = BY_DEFAULT,
    sites: Sequence[str] = ("mlp.post",),
    target: Target | None = None,
    *,
    form: str = "completion",
    neutral: Sequence[Fact] | None = None,
    per_fact: bool = True,
    memory: int = 2 * GIB,
    out: str | Path | None = None,
    progress: bool = True,
) -> Recording:
    """Record the activation and influence of every neuron, with the error of the influence.

    Args:
        model: A loaded model, or a TransformerLens bridge, whose plain model is recorded.
        facts: A fact set, whose splits are kept, or a sequence of facts to be forgotten.
        attribution: The attribution method.
        sites: The sites of the neurons.
        target: The quantity that neurons influence; by default the answer's log-odds.
        form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.
        neutral: Facts over which the baseline is averaged if all facts are in the forget set. By
            default, the neutral facts that this model answers. Two recordings can only be compared
            if these are the same: use `neutral_facts` of the original model for both.
        per_fact: Keep the neurons of every fact; otherwise only means over facts, whose size does
            not grow with the number of facts, but which allow no intervals and no tests.
        memory: Bytes that a pass may use in addition to the model's.
        out: The file to save the recording to. After an interruption, the same call resumes.
        progress: Show a progress bar with the remaining time.

    Raises:
        ValueError: Before anything is computed, if a fact cannot be encoded for this model, a site
            does not exist, or `out` does not end in `.safetensors` or belongs to a different
            unfinished recording.
        FileExistsError: If `out` exists.
    """
    if not isinstance(model, HookedModel):
        model = HookedModel.of_bridge(model)
    target = target or Target()
    labelled = _labelled(facts)
    if not labelled:
        raise ValueError("Expected at least one fact to record, got none.")
    check_sites(sites, model.sites, model.source)
    if out is not None:
        check_out(Path(out))
    encoded = [encode(fact, model.tokenizer, form) for _, fact in labelled]
    ids = tuple(fact.id for _, fact in labelled)
    target.check(Batch.of(encoded, model.device), ids)
    plan = make_plan(model, encoded, sites, per_fact, memory)
    attribution.check(labelled)
    attribution = attribution.prepared(model, labelled, sites, form, neutral)
    inputs = _Inputs(model, encoded, attribution, tuple(sites), target, per_fact, plan)
    provenance = provenance_of(model, facts, attribution, target, form)
    pieces = None
    if out is not None:
        plan_parts = {"sites": list(sites), "per_fact": per_fact, "plan": asdict(plan)}
        # A model is identified by its weights, not by its path.
        decides = {key: value for key, value in asdict(provenance).items() if key != "model"}
        pieces = open_pieces(Path(out), {"provenance": decides, **plan_parts})
    results = _computed(inputs, pieces, progress)
    arrays = _joined(results, plan) if per_fact else _averaged(results, plan)
    recording = Recording(
        sites=_by_site(arrays, sites, per_fact),
        fact_ids=ids,
        splits=tuple(split for split, _ in labelled),
        score=arrays["score"],
        probability=arrays["probability"],
        answered=arrays["answered"],
        provenance=provenance,
        relations=tuple(fact.relation for _, fact in labelled),
    )
    if out is not None and pieces is not None:
        recording.save(out)
        pieces.delete()
    return recording


def check_out(out: Path) -> None:
    """Check that a recording can be saved to this file.

    Raises:
        FileExistsError: If the file exists.
        ValueError: If the name does not end in `.safetensors`.
    """
    if out.exists():
        raise FileExistsError(f"{out} already exists: choose another name, or move it away.")
    if out.suffix != ".safetensors":
        raise ValueError(f"Expected a file name that ends in .safetensors, got {str(out)!r}.")


def provenance_of(
    model: HookedModel,
    facts: FactSet | Sequence[Fact],
    attribution: Attribution,
    target: Target,
    form: str,
) -> Provenance:
    """The provenance of a recording, which is known before the recording is computed.

    Args:
        attribution: The method, as returned by `Attribution.prepared`.
    """
    packages = ("neuronscope", "torch", "transformers")
    return Provenance(
        model=model.source,
        model_hash=model.fingerprint(),
        facts_hash=facts_hash(_labelled(facts)),
        attribution=type(attribution).__module__.rpartition(".")[2],
        settings=attribution.settings(),
        target=target.name,
        unit=target.unit,
        prompt_form=form,
        dtype=str(model.dtype).removeprefix("torch."),
        versions={name: importlib.metadata.version(name) for name in packages},
        notes=(*model.notes, *attribution.notes),
        experts=model.experts,
    )


def _labelled(facts: FactSet | Sequence[Fact]) -> list[tuple[str, Fact]]:
    return list(facts) if isinstance(facts, FactSet) else [("forget", fact) for fact in facts]


def _computed(inputs: _Inputs, pieces: Workspace | None, progress: bool) -> Iterator[Arrays]:
    """The arrays of every batch, in the plan's order: computed, or loaded from an earlier call."""
    batches = inputs.plan.batches
    say(f"{inputs.model.source}: {inputs.plan}", progress)
    with showing_progress("recording, batches", progress) as show:
        for number, members in enumerate(batches):
            make = partial(_batch, inputs, members)
            yield make() if pieces is None else pieces.arrays(f"{number:06d}", make)
            show(number + 1, len(batches))


def _batch(inputs: _Inputs, members: Sequence[int]) -> Arrays:
    """The arrays of one batch: per fact, or summed over facts if only means are kept."""
    model = inputs.model
    batch = Batch.of([inputs.encoded[i] for i in members], model.device)
    answers = Answers.of(batch)
    with frozen(model), torch.no_grad():
        logits = answer_logits(model, batch.tokens[:, :-1], answers)
        arrays = {
            "score": _numpy(inputs.target(logits, answers)),
            "probability": _numpy(Target("prob")(logits, answers)),
            "answered": answered(logits, answers).cpu().numpy().astype(bool),
        }
    found = inputs.attribution(model, batch, inputs.sites, inputs.target, inputs.plan.memory)
    for site, influence in found.items():
        values = {name: _numpy(tensor) for name, tensor in vars(influence).items()}
        if not inputs.per_fact:
            gains = {f"{name}_gain": values[name].clip(0) for name in ("total", "positive")}
            sums = {n: v.sum(axis=0, dtype=np.float64) for n, v in (values | gains).items()}
            values |= {name: sums[name] for name in AVERAGED}
        arrays |= {f"{site}.{name}": value for name, value in values.items()}
    return arrays


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()


def _joined(results: Iterator[Arrays], plan: Plan) -> Arrays:
    """The arrays of all batches, with facts in their original order."""
    everything = list(results)
    order = np.argsort(np.concatenate(plan.batches))
    return {
        name: np.concatenate([arrays.pop(name) for arrays in everything])[order]
        for name in list(everything[0])
    }


def _averaged(results: Iterator[Arrays], plan: Plan) -> Arrays:
    """Means over all facts, and the values per fact; holds one batch at a time."""
    sums: Arrays = {}
    single: list[Arrays] = []
    for arrays in results:
        single.append({})
        for name, array in arrays.items():
            if name.rpartition(".")[2] in AVERAGED:
                sums[name] = sums[name] + array if name in sums else array
            else:
                single[-1][name] = array
    count = sum(map(len, plan.batches))
    return {name: total / count for name, total in sums.items()} | _joined(iter(single), plan)


def _by_site(
    arrays: Arrays, sites: Sequence[str], per_fact: bool
) -> dict[str, SiteRecording] | dict[str, SiteMeans]:
    def of(site: str, kind: type[T]) -> T:
        return kind(**{f.name: arrays[f"{site}.{f.name}"] for f in fields(kind)})

    if per_fact:
        return {site: of(site, SiteRecording) for site in sites}
    return {site: of(site, SiteMeans) for site in sites}
