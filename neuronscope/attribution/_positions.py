"""The positions that move along a path, and the forward passes that move them.

If only the end of a prompt moves, its prefix is the same in every pass: its keys and values are
computed once, and the passes run on the remaining tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers.cache_utils import DynamicCache

from neuronscope.attribution._branches import Pass
from neuronscope.facts.prompts import Batch
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Answers

Positions = Literal["all", "answer", "last"]


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a batch, as inputs of one pass."""

    index: Int[Tensor, " row"]
    """The indices of the rows in the batch."""

    inputs: Pass

    moved: Bool[Tensor, "batch pos"]
    """The positions whose neurons move, without padding."""

    start: int
    """The position in the prompt of the pass's first token."""

    @property
    def predicting(self) -> Bool[Tensor, "batch pos"]:
        """The positions that predict the answer's tokens."""
        mask = torch.zeros_like(self.moved)
        mask[self.inputs.answers.row, self.inputs.answers.position] = True
        return mask


def whole(batch: Batch) -> Part:
    """The batch as one pass in which every position moves."""
    tokens = batch.tokens[:, :-1]
    positions = torch.arange(tokens.shape[1], device=tokens.device)
    real = positions < batch.lengths[:, None] - 1
    index = torch.arange(len(tokens), device=tokens.device)
    return Part(index, Pass(tokens, Answers.of(batch)), real, 0)


def parts(model: HookedModel, batch: Batch, positions: Positions) -> Iterator[Part]:
    """The passes that move the given positions of every row of the batch.

    `all` needs one pass. `answer` (the positions that predict the answer) and `last` (the last
    position of the prompt) need one for each prompt length, in addition to a pass without gradient
    over the prefix.
    """
    if positions == "all":
        yield whole(batch)
        return
    for length in batch.prompt_lengths.unique().tolist():
        index = (batch.prompt_lengths == length).nonzero()[:, 0]
        rows = Batch(
            batch.tokens[index],
            batch.prompt_lengths[index],
            batch.lengths[index],
            tuple(batch.rivals[i] for i in index.tolist()),
        )
        everything = whole(rows)
        tokens, start = everything.inputs.tokens, length - 1
        answers = everything.inputs.answers
        shifted = Answers(
            answers.row, answers.position - start, answers.token, answers.rivals, answers.rows
        )
        moved = everything.moved[:, start:]
        if positions == "last":
            moved = moved & (torch.arange(moved.shape[1], device=moved.device) == 0)
        prefix = _prefix(model, tokens[:, :start]) if start else None
        yield Part(index, Pass(tokens[:, start:], shifted, prefix), moved, start)


def _prefix(model: HookedModel, tokens: Int[Tensor, "batch pos"]) -> DynamicCache:
    cache = DynamicCache()
    with torch.no_grad():
        model.hf.base_model(input_ids=tokens, past_key_values=cache, use_cache=True)
    return cache
