"""How a recording is cut into batches, and what it will need."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from neuronscope.attribution._base import GIB
from neuronscope.facts.prompts import Encoded
from neuronscope.models.hooked_model import HookedModel

LARGEST_BATCH = 4
"""Facts in a batch at most: the passes of one fact fill a processor, and progress shows."""

AVERAGED = ("total", "total_gain", "positive", "positive_gain", "negative", "activation")
"""What a recording without single facts keeps of them: their mean."""


@dataclass(frozen=True)
class Plan:
    """How a recording is cut into batches, and what it will need."""

    batches: tuple[tuple[int, ...], ...]
    """Which facts go together: those of like length."""

    memory: int
    """Bytes for what autograd keeps, beyond the model's own."""

    result_bytes: int
    """Size of the finished recording."""

    def __str__(self) -> str:
        facts, largest = sum(map(len, self.batches)), max(map(len, self.batches))
        return (
            f"{facts} facts in {len(self.batches)} batches of up to {largest}; up to "
            f"{self.memory / GIB:.1f} GiB beyond the model, {self.result_bytes / GIB:.2f} GiB kept"
        )


def make_plan(
    model: HookedModel,
    encoded: Sequence[Encoded],
    sites: Sequence[str],
    per_fact: bool,
    memory: int,
) -> Plan:
    """Cut facts into batches of like length that fit into memory."""
    order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i].tokens), i))
    longest = max(len(one.tokens) for one in encoded)
    one_pass = longest * model.n_layers * model.saved_bytes
    size = int(min(LARGEST_BATCH, max(1, memory / 4 // one_pass)))
    batches = tuple(tuple(order[i : i + size]) for i in range(0, len(order), size))
    neurons = sum(hook_point.width for hook_point in model.hook_points if hook_point.site in sites)
    kept = 4 * len(encoded) if per_fact else len(AVERAGED)
    return Plan(batches, memory, kept * neurons * (8 if model.dtype == torch.float64 else 4))
