"""Record the neurons of one model on a set of facts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from neuronscope.facts.fact import FactSet
from neuronscope.results.recording import Recording
from neuronscope.tasks._facts import facts_of, only, read_facts, with_neutral_facts
from neuronscope.tasks._measuring import Measuring
from neuronscope.tasks._task import Facts, Loading, Method, Model, Task, runs

RECORDING = "recording.safetensors"
"""The recording in a result's folder."""


@dataclass(frozen=True)
class Record(Measuring, Task[Recording]):
    """Record the activations and influences of one model's neurons on a set of facts."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """File or folder of facts; `neuronscope list facts/formats` lists the formats."""

    attribution: Annotated[Any, Method("attribution", "Attribution")] = "integrated-gradients"
    """Attribution method."""

    split: str = "all"
    """Split to record, or `all`. Facts outside the forget set are the controls of a
    comparison, and their mean is the default baseline of integrated gradients."""

    per_fact: bool = True
    """Keep the values of each fact. Otherwise only means are kept, and memory does not grow with
    the number of facts."""

    original: Annotated[Any, Model()] = None
    """The model before unlearning. If only the forget set is recorded, neutral facts that it
    answers are added as controls, the same ones for every model (default: no neutral facts)."""

    null_facts: int | None = None
    """Number of neutral facts (default: as many as there are facts to forget, at most 8)."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._recording import attribution_of, check_recording

        attribution = attribution_of(self.attribution, None)
        models = [self.model] if self.original is None else [self.model, self.original]
        check_recording(self._chosen(), attribution, self, self.loading, models)

    def _perform(self, folder: Path | None) -> Any:
        if folder is None:
            return self._recorded(None)
        with self._writing(folder):
            return self._recorded(folder / RECORDING)

    def _recorded(self, out: Path | None) -> Recording:
        from neuronscope.tasks._models import loaded
        from neuronscope.tasks._recording import attribution_of, recorded

        facts, neutral = self._chosen(), None
        if self.original is not None:
            original = loaded(self.original, self.loading)
            facts, neutral = with_neutral_facts(facts, original, self.form, self.null_facts)
            del original
        model = loaded(self.model, self.loading)
        attribution = attribution_of(self.attribution, None)
        return recorded(model, facts, attribution, self, self.per_fact, out, neutral=neutral)

    def _chosen(self) -> FactSet:
        facts = read_facts(self.facts)
        if self.split == "all":
            return facts
        return only(facts, {self.split: facts_of(facts, self.split)})


record = runs(Record)
