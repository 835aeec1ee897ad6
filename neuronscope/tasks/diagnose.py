"""Compare a model before and after unlearning: was the knowledge erased, or only hidden?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from neuronscope.analysis.diagnosis import Diagnosis
from neuronscope.tasks._task import Facts, Loading, Method, Methods, Model, PromptForm, Task, runs


@dataclass(frozen=True)
class Diagnose(Task[Diagnosis]):
    """Was it erased, or only hidden? Compare a model before and after unlearning."""

    before: Annotated[Any, Model()]
    """The model before unlearning: HF directory, hub id, adapter directory, or .gguf file."""

    after: Annotated[Any, Model()]
    """The model after unlearning."""

    facts: Annotated[Any, Facts()]
    """The facts: a file or folder, in any format that `neuronscope list facts/formats` names."""

    attribution: Annotated[Any, Method("attribution", "Attribution")] = "integrated-gradients"
    """How influence is measured."""

    views: Annotated[Any, Methods("evidence", "Evidence")] = "all"
    """Which causal views are computed, by name; all, or none. The verdict rests on the relearning
    probe. Views are computed where both models have the same shapes."""

    split: str = "forget"
    """The split under judgement."""

    null_facts: int | None = None
    """How many facts that were not to be forgotten show what happens by chance (default: as many
    as are under judgement, at most 8)."""

    seed: int = 0
    """Seed of the choice of those facts, and of views and attributions that draw at random."""

    target: Literal["log-odds", "log-prob", "prob", "margin"] = "log-odds"
    """What is explained. prob is the paper's; it fades for all neurons as the answer does."""

    reduction: Literal["mean", "sum"] = "mean"
    """How the target is put together over an answer's tokens; prob is always the product."""

    sites: tuple[str, ...] = ("mlp.post",)
    """Where the neurons are: mlp.post mlp.gate mlp.up mlp.down attn.q attn.k attn.v attn.o; or
    paper, for the seven of arXiv 2509.22263."""

    form: PromptForm = "completion"
    """How a fact is put to the models."""

    memory: float = 2.0
    """GiB that a pass may use beyond the model's own."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None: ...

    def _perform(self, folder: Path | None) -> Any: ...


diagnose = runs(Diagnose)
