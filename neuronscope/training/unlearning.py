"""`unlearn` and `finetune`: check everything, train, and keep what came of it."""

from collections.abc import Sequence
from pathlib import Path

import torch

from neuronscope.facts.fact import Fact, FactSet
from neuronscope.facts.prompts import check_encodable
from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives import Objective
from neuronscope.regularizers import Regularizer
from neuronscope.results.history import history_table
from neuronscope.stopping import StopRule
from neuronscope.training.config import TrainingConfig
from neuronscope.training.evaluation import Callback, Evaluation
from neuronscope.training.loop import train
from neuronscope.training.modes import recomputing
from neuronscope.training.optimizers import check_optimizer, make_schedule
from neuronscope.training.plan import MODEL, open_run, plan_of
from neuronscope.training.processes import Processes
from neuronscope.training.roles import Roles
from neuronscope.training.room import check_room
from neuronscope.training.run import Run
from neuronscope.training.saving import plain_model, save_run
from neuronscope.training.teaching import Teaching, check_end
from neuronscope.training.tracking import check_tracker, tracking
from neuronscope.training.work import prepare


def unlearn(
    model: HookedModel,
    objective: Objective,
    facts: FactSet,
    regularizer: Regularizer | None = None,
    stop: StopRule | None = None,
    config: TrainingConfig | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Run:
    """Train a copy of a model to forget the facts of split `forget`, and to keep those of `retain`.

    The given model stays as it is, and serves as the reference. Runs alone, or in all processes
    that `accelerate launch` has started (sharing the data, or FSDP2); the numbers are the same to
    rounding.

    Args:
        objective: What the model is made to forget by.
        regularizer: A term that is added to it.
        stop: When it is done; after `config.steps` otherwise.
        config: How it is trained; `TrainingConfig()` if not given.
        out: A folder for the model (or its adapter), the history, the settings and a manifest.
            Interrupted, the same call goes on from the last checkpoint to the same numbers.
        progress: Show how far it is; not where something else shows it.

    Raises:
        ValueError: If facts, model and settings do not go together, or `out` holds an unfinished
            run of others. Before anything is computed.
        FileExistsError: If `out` holds a finished run, or something else.
        OSError: If the disk will not hold the run.
    """
    config = config or TrainingConfig()
    roles = Roles.of_unlearning(facts, config)
    return _run(model, roles, config, out, objective, regularizer, stop, progress=progress)


def finetune(
    model: HookedModel,
    facts: Sequence[Fact],
    config: TrainingConfig | None = None,
    out: str | Path | None = None,
    watched: Sequence[Fact] = (),
    teach_end: bool = False,
    callback: Callback | None = None,
    progress: bool = True,
) -> Run:
    """Teach a copy of a model facts, by the negative log-likelihood of their answers.

    Args:
        facts: What it is taught, in batches of `config.retain_batch`.
        watched: Facts that are not taught, but whose answers the history counts
            (`answered_watched`).
        teach_end: Also teach that the text ends behind each answer, as TOFU does. A model that is
            not taught it writes on behind a right answer, which ROUGE-L recall rewards.
        callback: Called at step 0, every `config.evaluate_every` steps and at the last step.
        progress: Show how far the run is.

    Raises:
        ValueError: As `unlearn`, or if the tokenizer has no token that ends a text.
        FileExistsError: As `unlearn`.
        OSError: As `unlearn`.
    """
    if teach_end:
        check_end(model.tokenizer)
    config = config or TrainingConfig()
    roles = Roles.of_finetuning(facts, watched, config)
    return _run(model, roles, config, out, Teaching(teach_end), None, None, callback, progress)


def _run(
    model: HookedModel,
    roles: Roles,
    config: TrainingConfig,
    out: str | Path | None,
    objective: Objective,
    regularizer: Regularizer | None,
    stop: StopRule | None,
    callback: Callback | None = None,
    progress: bool = True,
) -> Run:
    processes, facts = Processes.joined(), roles.trained
    _check(model, roles, config, objective, regularizer, stop, processes)
    folder = None if out is None else Path(out)
    check_tracker(config.tracker, folder)
    workspace = None
    if folder is not None:
        methods = {"objective": objective, "regularizer": regularizer, "stop": stop}
        plan = plan_of(model, methods, roles.labelled(), config, processes)
        workspace = open_run(folder, plan, processes)
    device = processes.device or model.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(config.seed)
        work = prepare(model, objective, regularizer, facts, config, processes)
        if folder is not None:
            check_room(folder, model, work)
        schedule = make_schedule(work.optimizer, config)
        ready = None if stop is None else stop.prepare(model, facts, config.form)
        with (
            recomputing(work.training.model.hf, config.gradient_checkpointing),
            tracking(processes.accelerator, config.tracker, folder),
        ):
            evaluation = Evaluation.of(work, roles, ready, callback)
            ended = train(work, schedule, evaluation, workspace, progress)
    note = f"trained by {type(objective).__name__} for {ended.so_far.step} steps"
    source = model.source if folder is None else str(folder / MODEL)
    trained = plain_model(model, work, source, note)
    table = history_table(ended.so_far.rows, roles.names)
    run = Run(trained, table, ended.stopped, config, ended.so_far.seconds)
    if workspace is not None:
        if processes.main:
            save_run(workspace, run, model, work, ended.so_far.step)
        processes.wait()
    return run


def _check(
    model: HookedModel,
    roles: Roles,
    config: TrainingConfig,
    objective: Objective,
    regularizer: Regularizer | None,
    stop: StopRule | None,
    processes: Processes,
) -> None:
    """Refuse what cannot be trained.

    Raises:
        ValueError: With what is wrong.
    """
    facts = roles.trained
    objective.check(facts)
    if regularizer is not None:
        regularizer.check_facts(facts)
        regularizer.check(model)
    if stop is not None:
        stop.check(facts, config.form)
    counted = dict.fromkeys((*roles.targets, *facts.forget, *facts.retain))
    check_encodable(tuple(counted), model.tokenizer, config.form)
    for name, size in (("forget", config.forget_batch), ("retain", config.retain_batch)):
        together = min(size, len(facts.split(name)))
        if 0 < together < processes.count:
            raise ValueError(
                f"A step has {together} facts of split {name!r} for {processes.count} processes: "
                f"raise {name}_batch, give more facts, or start fewer processes."
            )
    if config.gradient_checkpointing and not model.hf.supports_gradient_checkpointing:
        raise ValueError(f"{type(model.hf).__name__} has no gradient checkpointing.")
    if processes.sharded and config.lora_rank is not None:
        raise ValueError("Adapters need the whole base in each process: start them without FSDP.")
    check_optimizer(config)
