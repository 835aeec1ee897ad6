"""What a user can choose on the command line, as types: the flags are these fields."""

from dataclasses import dataclass
from typing import Literal

PromptForm = Literal["completion", "question_answer", "chat", "multiple_choice"]


@dataclass(frozen=True)
class ModelOptions:
    """How models are loaded."""

    base: str | None = None
    """The model under an adapter, where the adapter does not name one that can be found."""

    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    """Precision of the model's parameters. Attributions want float32."""

    device: str | None = None
    """Where the model goes, e.g. cpu or cuda:1; the first GPU if there is one, else the CPU."""

    device_map: str | None = None
    """Spread the model's layers over devices: auto."""

    trust_remote_code: bool = False
    """Run code that comes with a checkpoint."""

    allow_pickle: bool = False
    """Load weights that are not safetensors: such files can run code."""


@dataclass(frozen=True)
class MethodOptions:
    """How influence is measured. What is not given is the method's own default."""

    target: Literal["log-odds", "log-prob", "prob", "margin"] = "log-odds"
    """What is explained. prob is the paper's; it fades for all neurons as the answer does."""

    reduction: Literal["mean", "sum"] = "mean"
    """How the target is put together over an answer's tokens; prob is always the product."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Where the neurons are: mlp.post mlp.gate mlp.up mlp.down attn.q attn.k attn.v attn.o; or
    paper, for the seven of arXiv 2509.22263."""

    prompt_form: PromptForm = "completion"
    """How a fact is put to the model."""

    steps: int | None = None
    """Gauss-Legendre nodes (integrated gradients) or steps (conductance)."""

    tolerance: float | None = None
    """Integrated gradients: a path is refined until it misses less than this of the target."""

    max_steps: int | None = None
    """Integrated gradients: most nodes for one path."""

    path: Literal["per_layer", "joint"] | None = None
    """Integrated gradients: each layer moves alone, or all layers of a site together."""

    positions: Literal["all", "answer", "last"] | None = None
    """Integrated gradients: which positions move. answer and last are far faster."""

    baseline: Literal["zero", "mean", "reference"] | None = None
    """Integrated gradients: silence, the mean over facts that were not to be forgotten (default
    where there are some), or the neurons on another prompt."""

    reference: str | None = None
    """The other prompt, for the baseline reference."""

    sample: int | None = None
    """Ablation: neurons drawn at each site."""

    memory: float = 2.0
    """GiB that a pass may use beyond the model's own."""
