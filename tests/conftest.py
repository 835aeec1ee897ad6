import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# How long an example takes says more about the machine than about the code.
settings.register_profile("neuronscope", deadline=None)
settings.load_profile("neuronscope")
