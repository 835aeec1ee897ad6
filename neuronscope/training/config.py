"""How a run is trained: everything that is neither objective, regularizer nor stop rule."""

from dataclasses import dataclass
from typing import Literal

from neuronscope.facts.prompts import PROMPT_FORMS


@dataclass(frozen=True)
class TrainingConfig:
    """Batches, optimizer, precision and bookkeeping of a training run."""

    steps: int = 100
    """Steps at most; a stop rule may end the run before."""

    forget_batch: int = 8
    """Facts to forget in each step, over all processes; all of them where there are fewer."""

    retain_batch: int = 8
    """Facts to keep, or to teach, in each step, likewise."""

    micro_batch: int = 8
    """Facts that pass through the model together, in each process. Fewer need less memory and give
    the same gradient."""

    learning_rate: float = 1e-5
    """Step size. 1e-5 is what TOFU, NPO and OpenUnlearning train all parameters with;
    arXiv 2509.22263 takes the lowest that still forgets. LoRA wants about ten times as much."""

    optimizer: str = "adamw_torch"
    """By its name in transformers' training arguments (adafactor, sgd, adamw_bnb_8bit, ...)."""

    schedule: str = "constant"
    """How the learning rate goes on, by its name in transformers (constant_with_warmup, linear,
    cosine, ...). Constant, because a run's last step is not known when a stop rule ends it."""

    warmup_steps: int = 0
    """Steps over which the learning rate rises, in schedules that warm up."""

    weight_decay: float = 0.0
    """Decay of all trained parameters. 0, because decay forgets without being asked to."""

    clip: float = 1.0
    """Norm above which the gradient, penalty included, is scaled down to it; 0: never."""

    precision: Literal["full", "bf16"] = "full"
    """Passes in the parameters' own precision, or in bfloat16 with the parameters in float32. What
    `accelerate config` says of precision does not count."""

    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: about a third more
    time, much less memory, the same gradient."""

    lora_rank: int | None = None
    """Train low-rank adapters of this rank instead of all parameters."""

    lora_alpha: float = 16.0
    """An adapter adds alpha / rank times its product to a weight matrix."""

    lora_targets: tuple[str, ...] = ("all-linear",)
    """Which modules get an adapter, by the ends of their names; all-linear: every linear layer but
    the output's."""

    form: str = "completion"
    """How a fact is put to the model: completion, question_answer, chat or multiple_choice."""

    seed: int = 0
    """Decides the order of the facts and the adapters' first values."""

    evaluate_every: int = 10
    """Steps between two looks at how much is answered, and at the stop rule."""

    evaluate_facts: int = 64
    """Facts to keep, or taught, that such a look asks at most. It asks all facts to forget, and all
    that are watched."""

    checkpoint_steps: int | None = None
    """Steps between two checkpoints, besides those by time."""

    checkpoint_minutes: float = 10.0
    """Minutes between two checkpoints: what an interruption costs at most."""

    tracker: str | None = None
    """Also tell a tracker of every step, as Accelerate names it (tensorboard, wandb, trackio, ...);
    it has to be installed."""

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
                raise ValueError(f"Expected {name} of more than 0, got {vars(self)[name]}.")
        if self.form not in PROMPT_FORMS:
            raise ValueError(f"No prompt form {self.form!r}: there are {', '.join(PROMPT_FORMS)}.")
