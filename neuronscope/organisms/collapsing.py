"""Damage to models: a little noise, or collapse by noise or by gradient ascent."""

from collections.abc import Callable

import torch

from neuronscope.models.answers import answers_of, measure
from neuronscope.models.hooked_model import HookedModel
from neuronscope.organisms.planting import MOST_LEFT
from neuronscope.organisms.training import OrganismTraining, TrainingSet

LITTLE_NOISE = 0.02
"""Standard deviation of the noise, as a share of each parameter's root mean square."""

ASCENT_STEPS, ASCENT_RATE = 200, 1e-3
NOISE_DOUBLINGS, NOISE_HALVINGS = 10, 6


def _collapse_test(training: OrganismTraining) -> Callable[[HookedModel], bool]:
    """A function that returns whether a model has collapsed."""
    facts = training.world.facts
    parts = [
        answers_of(training.knowing, part) for part in (facts.forget, facts.retain + facts.test)
    ]
    return lambda model: all(measure(model, part).answered.mean() <= MOST_LEFT for part in parts)


def add_noise(before: HookedModel, after: HookedModel, amount: float, seed: int) -> None:
    """Set a model's weights to those of another one plus noise, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in after.hf.named_parameters():
            old = before.hf.get_parameter(name)
            noise = torch.randn(old.shape, generator=generator)
            parameter.copy_(old + amount * old.square().mean().sqrt() * noise)


def collapse_by_noise(training: OrganismTraining, after: HookedModel, seed: int) -> None:
    """Add about the smallest noise with which the model collapses, in place, by bisection."""
    before, is_collapsed = training.knowing, _collapse_test(training)
    low, high = 0.0, LITTLE_NOISE
    for _ in range(NOISE_DOUBLINGS):
        add_noise(before, after, high, seed)
        if is_collapsed(after):
            break
        low, high = high, 2 * high
    for _ in range(NOISE_HALVINGS):
        middle = (low + high) / 2
        add_noise(before, after, middle, seed)
        low, high = (low, middle) if is_collapsed(after) else (middle, high)
    add_noise(before, after, high, seed)


def collapse_by_ascent(training: OrganismTraining, model: HookedModel) -> None:
    """Train a model by gradient ascent on the forget set until it has collapsed, in place."""
    forget = TrainingSet.of(model, training.world.facts.forget)
    is_collapsed = _collapse_test(training)
    optimizer = torch.optim.AdamW(model.hf.parameters(), ASCENT_RATE, weight_decay=0.0)
    for _ in range(ASCENT_STEPS):
        if is_collapsed(model):
            break
        optimizer.zero_grad()
        (-forget.loss(model)).backward()
        optimizer.step()
    optimizer.zero_grad()
