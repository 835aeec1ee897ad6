"""Checks shared by the tasks that train a model; tasks import this module when they run."""

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
    """Check settings, model and facts before any weights are read."""
    check_optimizer(config)
    # Training itself checks the folder of the tracker's files.
    check_tracker(config.tracker, Path())
    for tokenizer in tokenizers_of([model], loading):
        check_encodable(facts, tokenizer, config.form)


def check_room(folder: Path | None, model: Any, config: TrainingConfig) -> None:
    """Check that the disk has room for the trained model; adapters are small and not checked.

    Raises:
        OSError: If there is too little room; the message says how much is needed.
    """
    if folder is not None and config.lora_rank is None and isinstance(model, str | Path):
        check_room_for_files(folder, str(model))
