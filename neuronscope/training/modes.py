"""Gradient checkpointing without the randomness of training mode."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

RANDOM = ("drop", "jitter")
"""Parts of the names of attributes that make a pass in training mode random."""


@contextmanager
def recomputing(hf: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """While active, recompute activations in the backward pass, if `wanted`.

    transformers does this only in training mode, so everything random in that mode is disabled.
    """
    if not wanted:
        yield
        return
    hf.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        with _without_randomness(hf):
            hf.train()
            yield
    finally:
        hf.eval()
        hf.gradient_checkpointing_disable()


@contextmanager
def _without_randomness(hf: PreTrainedModel) -> Iterator[None]:
    """While active, all dropout probabilities and noise scales are 0."""
    settings = [
        (module, name, value)
        for module in hf.modules()
        for name, value in vars(module).items()
        if isinstance(value, float) and _is_random(module, name)
    ]
    try:
        for module, name, _ in settings:
            setattr(module, name, 0.0)
        yield
    finally:
        for module, name, value in settings:
            setattr(module, name, value)


def _is_random(module: nn.Module, name: str) -> bool:
    dropout = name == "p" and "Dropout" in type(module).__name__
    return dropout or any(part in name for part in RANDOM)
