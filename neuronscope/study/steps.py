"""What each kind of step does. A step reads models and earlier steps, and writes one folder.

Every step can be interrupted: what it had finished inside its folder is found again where that is
expensive (checkpoints of a run, batches of a recording, views of a diagnosis), and the file that
says that it is done is written last. What an attack moved is found anew.
"""

import math
import shutil
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

from neuronscope.analysis.diagnosis import diagnose
from neuronscope.analysis.influence_variation import influence_variation, sum_of_largest
from neuronscope.analysis.stability import stability
from neuronscope.attribution import GIB, record
from neuronscope.evidence import Case, ask_named, views_called
from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.models.direct_logit_effect import neuron_tokens
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import load_model
from neuronscope.report import diagnosis_json, write_report
from neuronscope.report.explorer import explorer_with_tokens
from neuronscope.results.attack_table import NEVER_KNEW, ORIGINAL
from neuronscope.results.cache import write_json
from neuronscope.results.comparison import Comparison
from neuronscope.results.recording import Recording
from neuronscope.study.config import Study
from neuronscope.study.plan import Plan, Step
from neuronscope.study.scoring import score_model
from neuronscope.tasks.choices import choose_facts, chosen_sites, make_attribution, make_target
from neuronscope.tasks.manifest import describe
from neuronscope.training import unlearn
from neuronscope.training.plan import MODEL

TABLE = "attack.parquet"
"""What an attack leaves."""

ANSWERS = "answers.parquet"
"""Of a score: fact by fact."""

RECORDING = "recording.safetensors"
"""A model's influences."""

STABILITY, MOVED = "stability.json", "moved.parquet"
"""What an attack did to a run's neurons: in few numbers, and neuron by neuron."""


def perform(step: Step, plan: Plan, out: Path) -> None:
    """Do one step, whose predecessors are done.

    Args:
        out: The study's folder.
    """
    began = time.time()
    folder = step.folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    _DOES[step.kind](step, plan, load_facts(plan.study.facts), out, folder)
    if not step.done(out):
        write_json(folder / "done.json", {"step": step.label, **describe(began)})


def _unlearn(step: Step, plan: Plan, facts: FactSet, out: Path, folder: Path) -> None:
    study = plan.study
    method = next(method for method in study.methods if method.name == step.subject)
    assert step.seed is not None, "runs have seeds"
    match = None if method.matches is None else Path(method.matches)
    if step.needs:
        match = plan.step(step.needs[0]).folder(out)
    made = method.made(step.seed, match)
    unlearn(
        _loaded(study.model),
        made.objective,
        facts,
        made.regularizer,
        made.stop,
        study.config_of(method, step.seed),
        folder,
    )


def _score(step: Step, plan: Plan, facts: FactSet, out: Path, folder: Path) -> None:
    study = plan.study
    model = _subject(step, plan, out)
    never = None if study.never_knew is None else _loaded(study.never_knew)
    metrics = [study.metric(choice) for choice in study.metrics]
    found = score_model(model, facts, metrics, study.form, never, study.holdout_split)
    for name, table in found.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)


def _attack(step: Step, plan: Plan, facts: FactSet, out: Path, folder: Path) -> None:
    study = plan.study
    attack = study.attack(study.attack_names[step.what])
    table = attack(_subject(step, plan, out), facts, form=study.form)
    table.to_parquet(folder / TABLE, index=False)


def _record(step: Step, plan: Plan, facts: FactSet, out: Path, folder: Path) -> None:
    path = folder / RECORDING
    if not path.exists():
        _recorded(_subject(step, plan, out), plan.study, facts, path)


def _diagnose(step: Step, plan: Plan, facts: FactSet, out: Path, folder: Path) -> None:
    study = plan.study
    assert study.diagnosing is not None, "there would be no such step"
    model = _subject(step, plan, out)
    before, after = _recordings(step, plan, out)
    diagnosis = diagnose(before, after)
    if views_called(study.diagnosing.views):
        target = make_target(study.recorded_as)
        case = Case(_loaded(study.model), model, _judged(study, facts), target, study.form)
        asked = (case, Comparison(before, after), diagnosis.neurons, folder / "evidence")
        diagnosis = diagnosis.with_findings(*ask_named(study.diagnosing.views, *asked))
    diagnosis.neurons.to_parquet(folder / "neurons.parquet", index=False)
    written = partial(neuron_tokens, model)
    seen = explorer_with_tokens(before, after, diagnosis.neurons, written)
    write_report(diagnosis, folder / "report.html", explorer=seen)
    write_json(folder / "diagnosis.json", diagnosis_json(diagnosis))


def _stability(step: Step, plan: Plan, facts: FactSet, out: Path, folder: Path) -> None:
    study = plan.study
    attack = study.after_attack
    assert attack is not None, "there would be no such step"
    # The model is attacked anew: batches that an earlier try recorded are another model's.
    shutil.rmtree(folder)
    folder.mkdir()
    model = _subject(step, plan, out)
    run = attack.first_run(model, attack.scene(model, facts, study.form, study.form))
    before, after = _recordings(step, plan, out)
    attacked = _recorded(run.model, study, facts, folder / RECORDING)
    moved = influence_variation(Comparison(after, attacked))
    moved.drop(columns=["d_plus", "d_minus"]).to_parquet(folder / MOVED, index=False)
    alike = stability(after, attacked)
    since = influence_variation(Comparison(before, attacked))
    found = {
        "stopped": run.stopped,
        "unit": before.provenance.unit,
        "n_neurons": alike.n_neurons,
        "pearson": _or_none(alike.pearson),
        "spearman": _or_none(alike.spearman),
        **{sign: sum_of_largest(since[sign].to_numpy()) for sign in ("d_plus", "d_minus")},
    }
    write_json(folder / STABILITY, found)


_DOES: dict[str, Callable[[Step, Plan, FactSet, Path, Path], None]] = {
    "unlearn": _unlearn,
    "score": _score,
    "attack": _attack,
    "record": _record,
    "diagnose": _diagnose,
    "stability": _stability,
}


def _recordings(step: Step, plan: Plan, out: Path) -> tuple[Recording, Recording]:
    """Of the original, and of the run that a step looks at."""
    before, after = (plan.step(key).folder(out) / RECORDING for key in step.needs[:2])
    return Recording.load(before), Recording.load(after)


def _or_none(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def _judged(study: Study, facts: FactSet) -> FactSet:
    """The facts that are recorded."""
    assert study.diagnosing is not None, "only a diagnosis records"
    return choose_facts(facts, "forget", study.diagnosing.null_facts, 0)


def _recorded(model: HookedModel, study: Study, facts: FactSet, path: Path) -> Recording:
    told = study.diagnosing
    assert told is not None, "only a diagnosis records"
    how, judged = study.recorded_as, _judged(study, facts)
    sites = chosen_sites(how)
    return record(
        model,
        judged,
        make_attribution(told.attribution, how, model, judged, sites),
        sites,
        make_target(how),
        form=study.form,
        memory=int(how.memory * GIB),
        out=path,
    )


def _subject(step: Step, plan: Plan, out: Path) -> HookedModel:
    """The model that a step looks at."""
    study = plan.study
    if step.subject == ORIGINAL:
        return _loaded(study.model)
    if step.subject == NEVER_KNEW:
        assert study.never_knew is not None, "it is no subject without"
        return _loaded(study.never_knew)
    (run,) = plan.of("unlearn", step.subject, step.seed)
    # An adapter stands on the model that it was trained on.
    adapted = (run.folder(out) / MODEL / "adapter_config.json").is_file()
    return _loaded(str(run.folder(out) / MODEL), study.model if adapted else None)


@lru_cache(maxsize=2)
def _loaded(source: str, base: str | None = None) -> HookedModel:
    """A model; the last two stay in memory, because step after step asks them."""
    return load_model(source, base=base)
