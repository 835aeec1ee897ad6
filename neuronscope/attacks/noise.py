"""Noise: perturb the weights at random, and test whether answers recover.

    w ← w + σ · rms(w) · ε,    ε ~ N(0, 1), for each matrix of the decoder layers

If noise recovers forgotten answers while it destroys other answers, the suppression was fragile.
`budget` is σ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch

from neuronscope.attacks._base import Attack, Measurement, Scene, Trial
from neuronscope.attacks._tally import Questions
from neuronscope.attacks._weights import copied, matrices, write
from neuronscope.models.hooked_model import HookedModel


@dataclass(frozen=True)
class Noise(Attack):
    """Add Gaussian noise to the weight matrices of the decoder layers."""

    sigmas: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    """Standard deviations of the noise, in ascending order, as shares of each matrix's root mean
    square. With one seed, the noise has the same direction at all of them."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the noise, with a separate run for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ascending = all(a < b for a, b in pairwise(self.sigmas))
        if not self.sigmas or self.sigmas[0] < 0 or not ascending:
            raise ValueError(f"Expected ascending `sigmas` of 0 or more, got {self.sigmas}.")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"Expected one or more different `seeds`, got {self.seeds}.")

    def trials(self, scene: Scene) -> list[Trial]:
        return [Trial(scene.pool, seed=seed) for seed in self.seeds]

    def run(
        self, model: HookedModel, trial: Trial, scene: Scene, questions: Questions
    ) -> Iterator[Measurement]:
        del scene
        yield Measurement(questions(model))
        copy = copied(model)
        for step, sigma in enumerate(self.sigmas, 1):
            add_noise(model, copy, sigma, trial.seed)
            yield Measurement(questions(copy), step=step, budget=sigma)


def add_noise(model: HookedModel, copy: HookedModel, sigma: float, seed: int) -> None:
    """Set the weights of a copy, in place, to those of the model plus noise."""
    # Drawn on the CPU, so that a seed gives the same noise on every device.
    generator = torch.Generator().manual_seed(seed)
    for matrix in matrices(model):
        weight = matrix.weight.detach()
        noise = torch.randn(weight.shape, generator=generator).to(weight.device, torch.float64)
        spread = sigma * weight.double().square().mean().sqrt()
        write(copy, matrix.name, (weight.double() + spread * noise).to(weight.dtype))
