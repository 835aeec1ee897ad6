"""Settings of a training run other than objective, regularizer and stop rule."""

from dataclasses import dataclass
from typing import Literal

from neuronscope.facts.prompts import PROMPT_FORMS


@dataclass(frozen=True)
class TrainingConfig:
    """Batches, optimizer, precision, evaluations and checkpoints of a training run."""

    steps: int = 100
    """Maximum number of steps; a stop rule may end the run earlier."""

    forget_batch: int = 8
    """Facts of the forget split per step, over all processes; all of them if there are fewer."""

    retain_batch: int = 8
    """Facts of the retain split, or facts to fine-tune on, per step, over all processes; all of
    them if there are fewer."""

    micro_batch: int = 8
    """Facts per forward pass in each process. Smaller values need less memory and give the same
    gradient."""

    learning_rate: float = 1e-5
    """Learning rate. TOFU, NPO and OpenUnlearning train all parameters with 1e-5; arXiv 2509.22263
    uses the lowest rate that still forgets. LoRA needs a rate about ten times higher."""

    optimizer: str = "adamw_torch"
    """Name of the optimizer in transformers' training arguments (adafactor, sgd, adamw_bnb_8bit,
    ...)."""

    schedule: str = "constant"
    """Name of the learning rate schedule in transformers (constant_with_warmup, linear, cosine,
    ...). Constant by default, because the last step is not known in advance if a stop rule ends the
    run."""

    warmup_steps: int = 0
    """Steps during which the learning rate increases, in schedules with warmup."""

    weight_decay: float = 0.0
    """Weight decay of all trained parameters. 0 by default, because decay causes forgetting that is
    not due to the objective."""

    clip: float = 1.0
    """Scale the gradient, including the penalty, down to this norm if it is larger; 0 disables
    clipping."""

    precision: Literal["full", "bf16"] = "full"
    """Compute in the precision of the parameters, or in bfloat16 with parameters in float32. The
    precision set by `accelerate config` is ignored."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass instead of storing them: about a third more time,
    much less memory, the same gradient."""

    lora_rank: int | None = None
    """Train low-rank adapters of this rank instead of all parameters."""

    lora_alpha: float = 16.0
    """Scale of the adapters: each adds alpha / rank times its product to a weight matrix."""

    lora_targets: tuple[str, ...] = ("all-linear",)
    """Modules that get an adapter, by the last part of their names; all-linear means every linear
    layer except the output layer."""

    form: str = "completion"
    """Prompt form of the facts: completion, question_answer, chat or multiple_choice."""

    seed: int = 0
    """Seed of the order of the facts and of the initial values of adapters."""

    evaluate_every: int = 10
    """Steps between evaluations, which count answers and apply the stop rule."""

    evaluate_facts: int = 64
    """Evaluate at most this many facts of the retain split, or facts to fine-tune on. All facts of
    the forget split are evaluated, and all facts that fine-tuning watches without training on
    them."""

    checkpoint_steps: int | None = None
    """Steps between checkpoints, in addition to those written by time."""

    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints; an interruption costs at most this time."""

    tracker: str | None = None
    """Also log every step to a tracker, by its name in Accelerate (tensorboard, wandb, trackio,
    ...); the tracker must be installed."""

    def __post_init__(self) -> None:
        counts = ("steps", "forget_batch", "retain_batch", "micro_batch", "evaluate_every")
        optional = ("lora_rank", "checkpoint_steps")
        for name in counts + optional:
            value = vars(self)[name]
            if not (name in optional and value is None) and value < 1:
                raise ValueError(f"Expected {name} of 1 or more, got {value}.")
        for name in ("warmup_steps", "evaluate_facts", "weight_decay", "clip"):
            if not vars(self)[name] >= 0:
                raise ValueError(f"Expected {name} of 0 or more, got {vars(self)[name]}.")
        for name in ("learning_rate", "lora_alpha", "checkpoint_minutes"):
            if not vars(self)[name] > 0:
                raise ValueError(f"Expected `{name}` above 0, got {vars(self)[name]}.")
        if self.form not in PROMPT_FORMS:
            known = ", ".join(PROMPT_FORMS)
            raise ValueError(f"Expected `form` to be one of {known}, got {self.form!r}.")
