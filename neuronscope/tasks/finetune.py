"""Fine-tune a model on facts."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from neuronscope.facts.fact import Fact
from neuronscope.tasks._deciding import settings_of
from neuronscope.tasks._facts import facts_of, read_facts
from neuronscope.tasks._task import Facts, Loading, Model, Settings, Split, Task, runs

if TYPE_CHECKING:
    from neuronscope.training import Run  # noqa: F401 (the type of the result)

TRAINING = Settings("training/config", "TrainingConfig")


@dataclass(frozen=True)
class Finetune(Task["Run"]):
    """Fine-tune a model on facts, so that it has something to forget."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """File or folder of facts."""

    splits: tuple[Split, ...] = ("forget", "retain")
    """Splits to train on."""

    teach_end: bool = False
    """Also train on the end-of-text token after each answer, as TOFU does; meant for answers to
    questions."""

    training: Annotated[Any, TRAINING] = None
    """Batches, optimizer, precision and logging."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._training import check_training

        config = settings_of(self.training, TRAINING)
        check_training(self.model, self._trained_on(), config, self.loading)

    def _perform(self, folder: Path | None) -> Any:
        from neuronscope.tasks._models import loaded
        from neuronscope.tasks._training import check_room
        from neuronscope.training import finetune

        config = settings_of(self.training, TRAINING)
        check_room(folder, self.model, config)
        model = loaded(self.model, self.loading)
        return finetune(model, self._trained_on(), config, folder, teach_end=self.teach_end)

    def _trained_on(self) -> list[Fact]:
        facts = read_facts(self.facts)
        return [fact for split in self.splits for fact in facts_of(facts, split)]


finetune = runs(Finetune)
