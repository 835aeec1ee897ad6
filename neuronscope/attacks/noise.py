"""Noise: shake the weights, and look whether answers come back.

    w ← w + σ · rms(w) · ε,    ε ~ N(0, 1), for each matrix of the decoder layers

If noise brings answers back that noise takes away elsewhere, what held them down was fragile.
`budget` is σ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch

from neuronscope.attacks._base import Attack, Look, Scene, Trial
from neuronscope.attacks._tally import Questions
from neuronscope.attacks._weights import copied, matrices, write
from neuronscope.models.hooked_model import HookedModel


@dataclass(frozen=True)
class Noise(Attack):
    """Add Gaussian noise to the decoder layers' weights."""

    sigmas: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    """Standard deviations of the noise, ascending, as shares of each matrix's root mean square. A
    seed's noise points the same way at each of them."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Each draws other noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ascending = all(a < b for a, b in pairwise(self.sigmas))
        if not self.sigmas or self.sigmas[0] < 0 or not ascending:
            raise ValueError(f"Expected sigmas that ascend from 0 or more, got {self.sigmas}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"Expected seeds without repeats, one or more, got {self.seeds}.")

    def trials(self, scene: Scene) -> list[Trial]:
        return [Trial(scene.pool, seed=seed) for seed in self.seeds]

    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Look]:
        del scene
        yield Look(questions(model))
        copy = copied(model)
        for step, sigma in enumerate(self.sigmas, 1):
            shake(model, copy, sigma, trial.seed)
            yield Look(questions(copy), step=step, budget=sigma)


def shake(model: HookedModel, copy: HookedModel, sigma: float, seed: int) -> None:
    """Make a copy of a model the model plus noise, in place."""
    # Drawn on the CPU, so that a seed means the same on every device.
    generator = torch.Generator().manual_seed(seed)
    for matrix in matrices(model):
        weight = matrix.weight.detach()
        noise = torch.randn(weight.shape, generator=generator).to(weight.device, torch.float64)
        spread = sigma * weight.double().square().mean().sqrt()
        write(copy, matrix.name, (weight.double() + spread * noise).to(weight.dtype))
