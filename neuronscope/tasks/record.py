"""Record a model's neurons on a set of facts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from neuronscope.results.recording import Recording
from neuronscope.tasks._task import Facts, Loading, Method, Model, PromptForm, Task, runs


@dataclass(frozen=True)
class Record(Task[Recording]):
    """Record one model's neurons on a set of facts."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """The facts: a file or folder, in any format that `neuronscope list facts/formats` names."""

    attribution: Annotated[Any, Method("attribution", "Attribution")] = "integrated-gradients"
    """How influence is measured."""

    split: str = "forget"
    """The split to record; `all` for every one."""

    per_fact: bool = True
    """Keep every fact's neurons, or only their means: memory then does not grow with the facts."""

    target: Literal["log-odds", "log-prob", "prob", "margin"] = "log-odds"
    """What is explained. prob is the paper's; it fades for all neurons as the answer does."""

    reduction: Literal["mean", "sum"] = "mean"
    """How the target is put together over an answer's tokens; prob is always the product."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Where the neurons are: mlp.post mlp.gate mlp.up mlp.down attn.q attn.k attn.v attn.o; or
    paper, for the seven of arXiv 2509.22263."""

    form: PromptForm = "completion"
    """How a fact is put to the model."""

    memory: float = 2.0
    """GiB that a pass may use beyond the model's own."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None: ...

    def _perform(self, folder: Path | None) -> Any: ...


record = runs(Record)
