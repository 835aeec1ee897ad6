import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run in two processes, and threads of two that wait for each other cost more than they give.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says more about the machine than about the code.
settings.register_profile("neuronscope", deadline=None)
settings.load_profile("neuronscope")
