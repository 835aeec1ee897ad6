"""What the command does that runs a whole study: check, plan, run, report."""

import time
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from neuronscope.facts.fact import FactSet
from neuronscope.facts.loading import load_facts
from neuronscope.facts.prompts import check_encodable
from neuronscope.models.loading import load_model, load_tokenizer
from neuronscope.models.sources import check_source
from neuronscope.report.drawing import Kind as FigureKind
from neuronscope.results.attack_table import ATTACKED_CHECKPOINT, REST
from neuronscope.results.cache import write_json
from neuronscope.study.config import Study
from neuronscope.study.estimating import Estimate, Pace, estimates, pace_of
from neuronscope.study.plan import Plan, plan_of
from neuronscope.study.presets import PRESETS
from neuronscope.study.reading import read_study
from neuronscope.study.reporting import report_study
from neuronscope.study.running import Engine, Told, check_engine, run_plan
from neuronscope.study.scoring import fit_of
from neuronscope.tasks.choices import check_method, choose_facts, chosen_sites, make_target
from neuronscope.tasks.manifest import describe
from neuronscope.training.optimizers import check_optimizer
from neuronscope.training.tracking import check_tracker


def chosen_study(
    config: Path | None,
    preset: str | None,
    model: str | None,
    facts: Path | None,
    never_knew: str | None,
) -> Study:
    """The study of a file, or a preset with models and facts.

    Raises:
        FileNotFoundError, ValueError: What is wrong with the input, in one line.
    """
    if config is not None:
        if any(given is not None for given in (preset, model, facts, never_knew)):
            raise ValueError(
                "A study's file says everything: give either it, or --preset, --model, --facts and "
                "--never-knew."
            )
        return read_study(config)
    if preset is None or model is None or facts is None:
        raise ValueError(
            "Expected a study's TOML file, or --preset with --model and --facts: presets are "
            f"{', '.join(PRESETS)}."
        )
    if preset not in PRESETS:
        raise ValueError(f"No preset {preset!r}: there are {', '.join(PRESETS)}.")
    return replace(PRESETS[preset](model, facts), never_knew=never_knew)


def checked_plan(study: Study) -> tuple[Plan, FactSet]:
    """The study's plan, of what has been found sound before any weights are read.

    Raises:
        FileNotFoundError, ValueError: What is wrong with the input, in one line.
    """
    facts = load_facts(study.facts)
    tokenizers = []
    for source in filter(None, (study.model, study.never_knew)):
        check_source(source, None, False)
        tokenizers.append(load_tokenizer(source, None, False))
        check_encodable([fact for _, fact in facts], tokenizers[-1], study.form)
    _check_methods(study, facts)
    _check_diagnosing(study, facts)
    for choice in study.attacks:
        study.attack(choice).check(facts, tokenizers, study.form, study.form)
    plan = plan_of(study, facts)
    for metric in map(study.metric, study.metrics):
        for split in fit_of(metric, facts, study.never_knew, study.holdout_split).splits:
            for tokenizer in tokenizers:
                metric.check_tokens(facts.split(split), tokenizer, study.form)
    return plan, facts


def _check_methods(study: Study, facts: FactSet) -> None:
    names = {method.name for method in study.methods}
    for method in study.methods:
        held = method.matches
        made = method.made(study.seeds[0], None if held is None else Path(held))
        made.objective.check(facts)
        if made.regularizer is not None:
            made.regularizer.check_facts(facts)
        config = study.config_of(method, study.seeds[0])
        check_optimizer(config)
        check_tracker(config.tracker, Path())
        if held is not None and held not in names and not Path(held).is_dir():
            raise ValueError(
                f"method {method.name!r}: its stop rule matches {held!r}, which is neither a "
                "method of the study nor the folder of a run."
            )
        # A method of the study has no run yet.
        if made.stop is not None and held not in names:
            made.stop.check(facts, study.form)


def _check_diagnosing(study: Study, facts: FactSet) -> None:
    told = study.diagnosing
    if told is None:
        return
    if told.attribution == "ablation":
        raise ValueError(
            "diagnosing: ablation measures a sample of neurons, and a diagnosis needs every one: "
            "use another attribution."
        )
    judged = choose_facts(facts, "forget", told.null_facts, 0)
    chosen_sites(study.recorded_as)
    make_target(study.recorded_as)
    check_method(told.attribution, study.recorded_as, judged)


def estimate_study(plan: Plan, facts: FactSet, out: Path) -> tuple[list[Estimate], Pace]:
    """What the steps that are left would take."""
    began = time.perf_counter()
    model = load_model(plan.study.model)
    pace = pace_of(model, facts, plan.study.form, time.perf_counter() - began)
    # Methods that differ in name alone share their steps.
    once = {step.key: step for step in plan.steps if not step.done(out)}
    return estimates(plan, facts, model, pace, list(once.values())), pace


def summary(out: Path) -> list[str]:
    """What a finished study found, a line for each method and seed."""
    runs, recovery, diagnoses = (
        pd.read_parquet(out / f"{name}.parquet") for name in ("runs", "recovery", "diagnoses")
    )
    lines = []
    for run in runs.to_dict("records"):
        said = [
            f"{run['answered_forget']} of {run['asked_forget']} still answered, log-odds "
            f"{run['log_odds']:+.2f}"
        ]
        if not recovery.empty:
            mine = (recovery["method"] == run["method"]) & (recovery["run_seed"] == run["seed"])
            rest = (recovery["split"] == REST) & (recovery["model"] == ATTACKED_CHECKPOINT)
            said += [
                f"{r['attack']}: {r['reading']}"
                for r in recovery.loc[mine & rest].to_dict("records")
            ]
        if not diagnoses.empty:
            mine = (diagnoses["method"] == run["method"]) & (diagnoses["seed"] == run["seed"])
            said += [f"verdict: {word}" for word in diagnoses.loc[mine, "verdict"].dropna()]
        lines.append(
            f"{run['method']}, seed {run['seed']}: {'; '.join(one.rstrip('.') for one in said)}."
        )
    return lines


def run_study(
    plan: Plan,
    out: Path,
    engine: Engine,
    workers: int,
    told: Told,
    figures: FigureKind | None = None,
) -> Path:
    """Run what is missing of a study, and write its tables and report.

    Interrupted, the same call goes on where it was; a folder may hold several studies' steps.

    Args:
        figures: In which format every figure of the report is written as well; None: not at all.

    Returns:
        The report.

    Raises:
        ValueError, FileExistsError: What is wrong with the input, in one line.
    """
    began = time.time()
    check_engine(engine, workers)
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file: choose a folder for --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / "steps").is_dir():
        raise FileExistsError(f"{out} exists, and is no study: choose another folder.")
    (out / "steps").mkdir(parents=True, exist_ok=True)
    with _alone_in(out / "steps"):
        run_plan(plan, out, engine, workers, told)
        report = report_study(plan, out, figures)
        write_json(out / "manifest.json", describe(began))
    return report


def _alone_in(steps: Path) -> AbstractContextManager[object]:
    """No second study writes to these steps; the lock goes with the process that holds it."""
    try:
        return FileLock(steps / "lock", timeout=0).acquire()
    except Timeout:
        raise ValueError(
            f"A study is running in {steps.parent}: wait for it, or choose another folder for "
            "--out."
        ) from None
