"""What the tasks that train a model have in common; tasks import it when they run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import check_encodable
from neuronscope.tasks._models import tokenizers_of
from neuronscope.tasks._task import Loading
from neuronscope.training import TrainingConfig
from neuronscope.training.optimizers import check_optimizer
from neuronscope.training.room import check_room_for_files
from neuronscope.training.tracking import check_tracker


def check_training(
    model: Any, facts: Sequence[Fact], config: TrainingConfig, loading: Loading
) -> None:
    """Refuse settings, a model or facts that cannot be trained, before any weights are read."""
    check_optimizer(config)
    # Where its files would go is checked by the training itself.
    check_tracker(config.tracker, Path())
    for tokenizer in tokenizers_of([model], loading):
        check_encodable(facts, tokenizer, config.form)


def check_room(folder: Path | None, model: Any, config: TrainingConfig) -> None:
    """Refuse a disk that will not hold the trained model; an adapter is small.

    Raises:
        OSError: Saying how much is needed.
    """
    if folder is not None and config.lora_rank is None and isinstance(model, str | Path):
        check_room_for_files(folder, str(model))
