"""Optimizers and schedules by the names that transformers gives them."""

from types import SimpleNamespace
from typing import cast

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from neuronscope.training.config import TrainingConfig


def make_optimizer(parameters: list[nn.Parameter], config: TrainingConfig) -> Optimizer:
    """The optimizer that a config names.

    Raises:
        ValueError: If transformers knows none of that name, or it cannot be had of parameters
            alone.
    """
    if config.optimizer == "adamw_torch":
        return torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
    # Imported late: it takes seconds.
    from transformers import Trainer, TrainingArguments
    from transformers.training_args import OptimizerNames

    # Not TrainingArguments itself: making one resets Accelerate under the run.
    asked = SimpleNamespace(
        optim=OptimizerNames(config.optimizer),
        optim_args=None,
        optim_target_modules=None,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.999,
        adam_epsilon=1e-8,
    )
    kind, options = Trainer.get_optimizer_cls_and_kwargs(cast(TrainingArguments, asked))
    group = {"params": parameters, "weight_decay": config.weight_decay}
    try:
        return kind([group], **options)
    except TypeError as error:
        raise ValueError(
            f"The optimizer {config.optimizer!r} needs more than parameters ({error}): "
            "take another."
        ) from None


def make_schedule(optimizer: Optimizer, config: TrainingConfig) -> LRScheduler:
    """The schedule that a config names.

    Raises:
        ValueError: If transformers knows none of that name, or it needs settings of its own.
    """
    if config.schedule == "reduce_lr_on_plateau":
        raise ValueError("The schedule reduce_lr_on_plateau follows a score: take another.")
    try:
        return get_scheduler(config.schedule, optimizer, config.warmup_steps, config.steps)
    except TypeError as error:
        raise ValueError(f"The schedule {config.schedule!r} needs settings: {error}.") from None


def check_optimizer(config: TrainingConfig) -> None:
    """Find out whether optimizer and schedule can be had.

    Raises:
        ValueError: As `make_optimizer` and `make_schedule`.
    """
    make_schedule(make_optimizer([nn.Parameter(torch.zeros(1))], config), config)
