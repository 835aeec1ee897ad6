"""The state that a model's modules are in while it is trained."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from transformers import PreTrainedModel

CHANCE = ("drop", "jitter")
"""What the numbers' names hold that make a pass in training mode random."""


@contextmanager
def recomputing(hf: PreTrainedModel, wanted: bool) -> Iterator[None]:
    """While active, activations are computed again in the backward pass, if that is wanted.

    transformers does so in training mode alone; what is random there is switched off.
    """
    if not wanted:
        yield
        return
    hf.gradient_checkpointing_enable({"use_reentrant": False})
    try:
        with _no_chance(hf):
            hf.train()
            yield
    finally:
        hf.eval()
        hf.gradient_checkpointing_disable()


@contextmanager
def _no_chance(hf: PreTrainedModel) -> Iterator[None]:
    """While active, every probability to drop something and every noise is 0."""
    found = [
        (module, name, value)
        for module in hf.modules()
        for name, value in vars(module).items()
        if isinstance(value, float) and _by_chance(module, name)
    ]
    try:
        for module, name, _ in found:
            setattr(module, name, 0.0)
        yield
    finally:
        for module, name, value in found:
            setattr(module, name, value)


def _by_chance(module: nn.Module, name: str) -> bool:
    dropout = name == "p" and "Dropout" in type(module).__name__
    return dropout or any(part in name for part in CHANCE)
