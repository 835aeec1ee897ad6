"""Record a model's neurons on a set of facts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from neuronscope.facts.fact import FactSet
from neuronscope.results.recording import Recording
from neuronscope.tasks._facts import facts_of, only, read_facts
from neuronscope.tasks._measuring import Measuring
from neuronscope.tasks._task import Facts, Loading, Method, Model, Task, runs

RECORDING = "recording.safetensors"
"""The recording in the folder of a result."""


@dataclass(frozen=True)
class Record(Measuring, Task[Recording]):
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

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._recording import attribution_of, check_recording

        attribution = attribution_of(self.attribution, None)
        check_recording(self._chosen(), attribution, self, self.loading, [self.model])

    def _perform(self, folder: Path | None) -> Any:
        if folder is None:
            return self._recorded(None)
        with self._writing(folder):
            return self._recorded(folder / RECORDING)

    def _recorded(self, out: Path | None) -> Recording:
        from neuronscope.tasks._models import loaded
        from neuronscope.tasks._recording import attribution_of, recorded

        model = loaded(self.model, self.loading)
        attribution = attribution_of(self.attribution, None)
        return recorded(model, self._chosen(), attribution, self, self.per_fact, out)

    def _chosen(self) -> FactSet:
        facts = read_facts(self.facts)
        if self.split == "all":
            return facts
        return only(facts, {self.split: facts_of(facts, self.split)})


record = runs(Record)
