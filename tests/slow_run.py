"""The run of `test_training_resume.py` that is killed: its steps are slow."""

import sys
import time

from test_training_resume import SETTINGS
from training_example import FACTS, LOSS, Drag, model

from neuronscope.training import unlearn


class Slow(Drag):
    def __call__(self, step, state):
        time.sleep(0.2)
        return super().__call__(step, state)


Slow.__name__ = "Drag"
unlearn(model(), LOSS, FACTS, Slow(noise=0.1), config=SETTINGS, out=sys.argv[1])
