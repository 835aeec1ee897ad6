"""`unlearn` and `finetune`: check all arguments, train, and save the result."""

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
from neuronscope.training.likelihood import AnswerLikelihood, check_end
from neuronscope.training.loop import train
from neuronscope.training.modes import recomputing
from neuronscope.training.optimizers import check_optimizer, make_schedule
from neuronscope.training.plan import MODEL, open_run, plan_of
from neuronscope.training.processes import Processes
from neuronscope.training.roles import Roles
from neuronscope.training.room import check_room
from neuronscope.training.run import Run
from neuronscope.training.saving import plain_model, save_run
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
    """Train a copy of a model to forget the facts of split `forget` and retain those of `retain`.

    The given model is not changed, and serves as the reference. The run uses one process, or all
    processes that `accelerate launch` started (data parallelism or FSDP2); the results agree up to
    rounding. If a loss, gradient or logit is not a number during training, the run ends, and
    `Run.stopped` says why.

    Args:
        objective: The unlearning objective.
        regularizer: A penalty added to the objective.
        stop: A rule that may end the run before `config.steps`.
        config: Training settings; `TrainingConfig()` by default.
        out: Folder for the model (or its adapter), the history, the settings and a manifest. After
            an interruption, the same call resumes from the last checkpoint and gives the same
            numbers.
        progress: Show the progress.

    Raises:
        ValueError: If facts, model and settings are incompatible, if the given model's logits are
            NaN, or if `out` contains an unfinished run with different settings. Raised before any
            training.
        FileExistsError: If `out` contains a finished run, or files that belong to no run.
        OSError: If the disk has too little space for the run.
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
    """Fine-tune a copy of a model on facts, with the negative log-likelihood of their answers.

    Args:
        facts: Facts to fine-tune on, in batches of `config.retain_batch`.
        config: Training settings; `TrainingConfig()` by default.
        out: Folder for the results, as for `unlearn`.
        watched: Facts that are not trained on, but whose answers the history counts
            (`answered_watched`).
        teach_end: Append the end-of-text token to each answer, as TOFU does. Without it, the model
            continues to generate text after a correct answer, which ROUGE-L recall rewards.
        callback: Called at step 0, every `config.evaluate_every` steps and at the last step.
        progress: Show the progress.

    Raises:
        ValueError: As `unlearn`, or if `teach_end` is set and the tokenizer has no end-of-text
            token.
        FileExistsError: As `unlearn`.
        OSError: As `unlearn`.
    """
    if teach_end:
        check_end(model.tokenizer)
    config = config or TrainingConfig()
    roles = Roles.of_finetuning(facts, watched, config)
    return _run(
        model, roles, config, out, AnswerLikelihood(teach_end), None, None, callback, progress
    )


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
    note = f"trained by {type(objective).__name__} for {ended.state.step} steps"
    source = model.source if folder is None else str(folder / MODEL)
    trained = plain_model(model, work, source, note)
    table = history_table(ended.state.rows, roles.names)
    run = Run(trained, table, ended.stopped, config, ended.state.seconds)
    if workspace is not None:
        if processes.main:
            save_run(workspace, run, model, work, ended.state.step)
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
    """Check that facts, model, methods and settings are compatible.

    Raises:
        ValueError: If they are not; the message says why.
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
                f"A step has {together} facts of split {name!r} for {processes.count} processes; "
                f"increase {name}_batch, give more facts, or start fewer processes."
            )
    if config.gradient_checkpointing and not model.hf.supports_gradient_checkpointing:
        raise ValueError(
            f"{type(model.hf).__name__} does not support gradient checkpointing; set "
            "gradient_checkpointing to False."
        )
    if processes.sharded and config.lora_rank is not None:
        raise ValueError(
            "Adapters need the complete base model in each process; start the processes without "
            "FSDP, or train without lora_rank."
        )
    check_optimizer(config)
