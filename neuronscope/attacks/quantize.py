"""Quantization: round every weight matrix to a few bits, and test whether answers recover.

Rounding undoes unlearning that moved the weights by less than a rounding step (Zhang et al.,
"Catastrophic Failure of LLM Unlearning via Quantization", arXiv 2410.16454).

    s_c = max_j |w_cj| / (2^(bits−1) − 1),    ŵ_cj = s_c · round(w_cj / s_c)

for each output channel c: symmetric rounding to nearest, so that |ŵ − w| ≤ s_c / 2. Quantization is
simulated: the model computes with the rounded weights in its own precision. `budget` is the largest
error as a share of the channel's largest weight, 1 / (2^bits − 2).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from neuronscope.attacks._base import Attack, Measurement, Scene, Trial
from neuronscope.attacks._tally import Questions
from neuronscope.attacks._weights import copied, matrices, write
from neuronscope.models.hooked_model import HookedModel

NOTE = (
    "The matrices of the decoder layers were rounded to nearest per output channel; quantization "
    "was simulated in the model's own precision, without a quantization kernel."
)


@dataclass(frozen=True)
class Quantize(Attack):
    """Round the weight matrices of the decoder layers to a few bits."""

    bits: tuple[int, ...] = (8, 4)
    """Bits per weight, with a separate run for each number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bits or len(set(self.bits)) < len(self.bits):
            raise ValueError(f"Expected one or more different `bits`, got {self.bits}.")
        if min(self.bits) < 2 or max(self.bits) > 16:
            raise ValueError(f"Expected `bits` from 2 to 16, got {self.bits}.")

    def trials(self, scene: Scene) -> list[Trial]:
        return [Trial(scene.pool, variant=f"int{bits}", note=NOTE) for bits in self.bits]

    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Measurement]:
        del scene
        bits = int(trial.variant.removeprefix("int"))
        yield Measurement(questions(model))
        yield Measurement(questions(quantized(model, bits)), step=1, budget=1 / (2**bits - 2))


def quantized(model: HookedModel, bits: int) -> HookedModel:
    """A copy of a model with rounded weights."""
    copy = copied(model)
    for matrix in matrices(copy):
        write(copy, matrix.name, rounded(matrix.weight.detach(), bits, matrix.inputs))
    return copy


def rounded(weight: Float[Tensor, "..."], bits: int, inputs: int) -> Float[Tensor, "..."]:
    """Round weights to the nearest of 2^bits − 1 levels around 0, per output channel.

    Args:
        inputs: The input axis.
    """
    levels = 2 ** (bits - 1) - 1
    exact = weight.double()
    largest = exact.abs().amax(dim=inputs, keepdim=True)
    scale = largest.where(largest > 0, 1.0) / levels
    return ((exact / scale).round() * scale).to(weight.dtype)
