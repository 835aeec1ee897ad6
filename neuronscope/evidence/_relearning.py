"""Relearning: gradient steps of fixed length on some answers, and which tokens are then right."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from neuronscope.evidence._base import working_copy
from neuronscope.facts.prompts import Encoded
from neuronscope.models.answers import NaNLogitsError, batches_of, check_numbers
from neuronscope.models.hook_points import decoder_layers
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers, Target

SMALLEST = 1e-30
"""Lower bound of a gradient's norm, so that no step divides by zero."""


class Learner:
    """A copy of a model that learns answers, each time from the model's own weights."""

    def __init__(self, model: HookedModel) -> None:
        self._origin = decoder_matrices(model)
        self._model = working_copy(model)
        self._model.hf.requires_grad_(False)
        self._matrices = decoder_matrices(self._model)
        for matrix in self._matrices:
            matrix.requires_grad_(True)
        self._norm = _norm(self._matrices)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        return self._model.tokenizer

    def learn(
        self, encoded: Sequence[Encoded], distances: Sequence[float]
    ) -> Iterator[Bool[np.ndarray, "fact token"]]:
        """Which answer tokens are the most likely ones, at the start and after each step.

        Tokens are predicted from the prompt and the answer's previous tokens; rows are padded with
        True.

        Every step follows the gradient of the mean log-odds and costs one forward and one backward
        pass over the facts. Unlike the gradient of the cross-entropy, it does not vanish for facts
        that are already answered, so every fact keeps its influence on the direction of a step.

        Args:
            encoded: Prompts with the answers to learn.
            distances: Length of the path after each step, ascending, as a share of the norm of the
                decoder layers' matrices.

        Raises:
            NaNLogitsError: If a logit is NaN; the message says at which distance.
        """
        self._reset()
        for start, end in pairwise((0.0, *distances)):
            yield self._pass(encoded, backward=True, moved=start)
            self._step(end - start)
        with torch.no_grad():
            yield self._pass(encoded, backward=False, moved=distances[-1])

    def given(self, encoded: Sequence[Encoded]) -> Bool[np.ndarray, " fact"]:
        """Which answers the model gives before it learns anything."""
        if not encoded:
            return np.zeros(0, dtype=bool)
        self._reset()
        with torch.no_grad():
            return np.all(self._pass(encoded, backward=False, moved=0.0), axis=1)

    def _reset(self) -> None:
        """Return to the model's own weights."""
        with torch.no_grad():
            for matrix, own in zip(self._matrices, self._origin, strict=True):
                matrix.copy_(own)
                matrix.grad = None

    def _pass(
        self, encoded: Sequence[Encoded], *, backward: bool, moved: float
    ) -> Bool[np.ndarray, "fact token"]:
        """Which tokens are right; adds the loss's gradient to the matrices if `backward`."""
        longest = max(len(one.tokens) - one.prompt_length for one in encoded)
        right = np.ones((len(encoded), longest), dtype=bool)
        for places, batch in batches_of(self._model, encoded):
            answers = Answers.of(batch)
            logits = answer_logits(self._model, batch.tokens[:, :-1], answers)
            if moved and logits.isnan().any():
                raise NaNLogitsError(
                    f"Moved by {100 * moved:.2g} % of its weights' norm, {self._model.source} has "
                    "NaN logits; use smaller distances."
                )
            check_numbers(self._model, logits)
            row = np.array(places)[answers.row.cpu().numpy()]
            step = (answers.position + 1 - batch.prompt_lengths[answers.row]).cpu().numpy()
            hit = logits.detach().argmax(dim=-1).cpu() == answers.token.cpu()
            right[row, step] = hit.numpy()
            if backward:
                (-Target()(logits, answers).sum() / len(encoded)).backward()
        return right

    def _step(self, length: float) -> None:
        gradients = [matrix.grad for matrix in self._matrices if matrix.grad is not None]
        scale = length * self._norm / max(_norm(gradients), SMALLEST)
        with torch.no_grad():
            for matrix in self._matrices:
                if matrix.grad is not None:
                    matrix.sub_(matrix.grad * scale)
                    matrix.grad = None


def decoder_matrices(model: HookedModel) -> list[nn.Parameter]:
    """The matrices of a model's decoder layers."""
    return [p for layer in decoder_layers(model.hf) for p in layer.parameters() if p.dim() > 1]


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.hypot(*(float(tensor.detach().norm()) for tensor in tensors))
