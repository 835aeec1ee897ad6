"""Unlearning and fine-tuning: one resumable training loop, for one process or several."""

from neuronscope.training.config import TrainingConfig
from neuronscope.training.run import Run
from neuronscope.training.showing import COUNTED
from neuronscope.training.unlearning import finetune, unlearn

__all__ = ["COUNTED", "Run", "TrainingConfig", "finetune", "unlearn"]
