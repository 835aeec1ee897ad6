"""Training a model to forget, or to learn: one loop, alone or shared out, that can be resumed."""

from neuronscope.training.config import TrainingConfig
from neuronscope.training.run import Run
from neuronscope.training.showing import COUNTED
from neuronscope.training.unlearning import finetune, unlearn

__all__ = ["COUNTED", "Run", "TrainingConfig", "finetune", "unlearn"]
