"""Make a model forget."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from neuronscope.tasks._deciding import settings_of
from neuronscope.tasks._facts import read_facts
from neuronscope.tasks._task import Facts, Loading, Method, Model, Settings, Task, runs
from neuronscope.tasks.methods import made

if TYPE_CHECKING:
    from neuronscope.training import Run  # noqa: F401 (the type of the result)

TRAINING = Settings("training/config", "TrainingConfig")


@dataclass(frozen=True)
class Unlearn(Task["Run"]):
    """Make a model forget facts, given an objective, an optional regularizer and a stop rule."""

    model: Annotated[Any, Model()]
    """HF directory, hub id, adapter directory, or .gguf file."""

    facts: Annotated[Any, Facts()]
    """File or folder of facts: the forget split is unlearned, the retain split preserved."""

    objective: Annotated[Any, Method("objectives", "Objective")]
    """Objective to minimize on the forget and retain splits."""

    regularizer: Annotated[Any, Method("regularizers", "Regularizer")] = None
    """Penalty added to the objective, or none (default: none)."""

    stop: Annotated[Any, Method("stopping", "StopRule")] = "forget-accuracy"
    """Stop rule, or none. Training takes no more than the given number of steps in any case."""

    training: Annotated[Any, TRAINING] = None
    """Batches, optimizer, precision and logging."""

    loading: Loading = field(default_factory=Loading)

    def check(self) -> None:
        from neuronscope.tasks._training import check_training

        config = settings_of(self.training, TRAINING)
        objective, regularizer, stop = self.methods()
        facts = read_facts(self.facts)
        objective.check(facts)
        if regularizer is not None:
            regularizer.check_facts(facts)
        if stop is not None:
            stop.check(facts, config.form)
        check_training(self.model, [*facts.forget, *facts.retain], config, self.loading)

    def methods(self) -> tuple[Any, Any, Any]:
        """The objective, the regularizer and the stop rule, with the run's seed.

        Raises:
            ValueError: If a method or setting does not exist.
        """
        from neuronscope.objectives import Objective
        from neuronscope.regularizers import Regularizer
        from neuronscope.stopping import StopRule

        seed = settings_of(self.training, TRAINING).seed
        objective = made("objectives", self.objective, Objective, seed)
        if objective is None:
            raise ValueError("Expected an objective, got None.")
        regularizer = made("regularizers", self.regularizer, Regularizer, seed)
        return objective, regularizer, made("stopping", self.stop, StopRule, seed)

    def _perform(self, folder: Path | None) -> Any:
        from neuronscope.tasks._models import loaded
        from neuronscope.tasks._training import check_room
        from neuronscope.training import unlearn

        config = settings_of(self.training, TRAINING)
        check_room(folder, self.model, config)
        model, facts = loaded(self.model, self.loading), read_facts(self.facts)
        objective, regularizer, stop = self.methods()
        return unlearn(model, objective, facts, regularizer, stop, config, folder)


unlearn = runs(Unlearn)
