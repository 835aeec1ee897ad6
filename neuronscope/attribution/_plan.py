"""The batches of a recording, and the memory that it needs."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from neuronscope.attribution._base import GIB
from neuronscope.attribution._memory import saved_bytes
from neuronscope.facts.prompts import Encoded
from neuronscope.models.hooked_model import HookedModel

LARGEST_BATCH = 4
"""Maximum number of facts in a batch: the passes of a single fact keep a processor busy, and small
batches make progress visible."""

AVERAGED = ("total", "total_gain", "positive", "positive_gain", "negative", "activation")
"""The quantities whose means are kept if a recording is not per fact."""


@dataclass(frozen=True)
class Plan:
    """The batches of a recording, and the memory that it needs."""

    batches: tuple[tuple[int, ...], ...]
    """Indices of the facts of each batch, which have similar lengths."""

    memory: int
    """Bytes to use in addition to the model's."""

    result_bytes: int
    """Size of the finished recording."""

    def __str__(self) -> str:
        facts, largest = sum(map(len, self.batches)), max(map(len, self.batches))
        return (
            f"{facts} facts in {len(self.batches)} batches of up to {largest}; up to "
            f"{self.memory / GIB:.1f} GiB in addition to the model; result: "
            f"{self.result_bytes / GIB:.2f} GiB"
        )


def make_plan(
    model: HookedModel,
    encoded: Sequence[Encoded],
    sites: Sequence[str],
    per_fact: bool,
    memory: int,
) -> Plan:
    """Divide facts into batches of similar length that fit into memory."""
    order = sorted(range(len(encoded)), key=lambda i: (len(encoded[i].tokens), i))
    longest = max(len(one.tokens) for one in encoded)
    one_pass = longest * model.n_layers * saved_bytes(model)
    size = int(min(LARGEST_BATCH, max(1, memory / 4 // one_pass)))
    batches = tuple(tuple(order[i : i + size]) for i in range(0, len(order), size))
    neurons = sum(hook_point.width for hook_point in model.hook_points if hook_point.site in sites)
    kept = 4 * len(encoded) if per_fact else len(AVERAGED)
    return Plan(batches, memory, kept * neurons * (8 if model.dtype == torch.float64 else 4))
