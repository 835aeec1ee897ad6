"""Optimizers and learning rate schedules, by their names in transformers."""

from types import SimpleNamespace
from typing import cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from neuronscope.training.config import TrainingConfig


def make_optimizer(parameters: list[nn.Parameter], config: TrainingConfig) -> Optimizer:
    """Make the optimizer that a config names.

    Raises:
        ValueError: If transformers has no optimizer of that name, or the optimizer needs more than
            parameters.
    """
    if config.optimizer == "adamw_torch":
        return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
    # Imported here, because the import takes seconds.
    from transformers import Trainer, TrainingArguments
    from transformers.training_args import OptimizerNames

    # Not TrainingArguments itself, because its constructor would reset Accelerate's state.
    arguments = SimpleNamespace(
        optim=OptimizerNames(config.optimizer),
        optim_args=None,
        optim_target_modules=None,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
    )
    kind, options = Trainer.get_optimizer_cls_and_kwargs(cast(TrainingArguments, arguments))
    group = {"params": parameters, "weight_decay": config.weight_decay}
    try:
        return kind([group], **options)
    except TypeError as error:
        raise ValueError(
            f"The optimizer {config.optimizer!r} needs additional arguments ({error}); choose a "
            "different optimizer."
        ) from None


def make_schedule(optimizer: Optimizer, config: TrainingConfig) -> LRScheduler:
    """Make the schedule that a config names.

    Raises:
        ValueError: If transformers has no schedule of that name, or the schedule needs additional
            arguments.
    """
    if config.schedule == "reduce_lr_on_plateau":
        raise ValueError(
            "The schedule 'reduce_lr_on_plateau' depends on a score, which training does not "
            "provide; choose a different schedule."
        )
    try:
        return get_scheduler(config.schedule, optimizer, config.warmup_steps, config.steps)
    except TypeError as error:
        raise ValueError(
            f"The schedule {config.schedule!r} needs additional arguments ({error}); choose a "
            "different schedule."
        ) from None


def check_optimizer(config: TrainingConfig) -> None:
    """Check that optimizer and schedule can be created.

    Raises:
        ValueError: As `make_optimizer` and `make_schedule`.
    """
    make_schedule(make_optimizer([nn.Parameter(torch.zeros(1))], config), config)
