"""A tiny model in training that differs from its reference, and portions of facts."""

import copy
import math
from collections.abc import Sequence
from dataclasses import fields, replace

import torch
from tiny import tiny
from torch import Tensor

from neuronscope._discover import method_class
from neuronscope.facts.fact import Fact
from neuronscope.models.hooked_model import HookedModel
from neuronscope.objectives._base import Objective
from neuronscope.objectives._training_state import Portion, Terms, TrainingState

REFUSAL = "a cat"
"""Two tokens in the vocabulary of the tiny tokenizer."""


def objective_of(name: str, **changes: object) -> Objective:
    """An objective with default settings and a refusal that the tiny tokenizer can encode."""
    found = method_class("objectives", name, Objective)
    if "refusal" in {item.name for item in fields(found)}:
        changes = {"refusal": REFUSAL} | changes
    return found(**changes)


def training_state_of(
    architecture: str = "llama",
    dtype: torch.dtype = torch.float64,
    moved: float = 0.05,
    **changes: object,
) -> TrainingState:
    """A model in training whose weights differ from its reference by noise of scale `moved`."""
    before = tiny(architecture, dtype, **changes)
    hf = copy.deepcopy(before.hf)
    before.hf.requires_grad_(False)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in hf.parameters():
            parameter += moved * torch.randn_like(parameter)
    return TrainingState(HookedModel.of(hf, before.tokenizer), before, "completion")


def portion_of(
    training: TrainingState, facts: Sequence[Fact], whole: Sequence[Fact] | None = None
) -> Portion:
    """A portion with these facts, of a step with the facts `whole` (by default the same)."""
    step = training.asked(tuple(whole or facts))
    tokens = int((step.lengths - step.prompt_lengths).sum())
    batch = training.asked(tuple(facts))
    return Portion(tuple(facts), batch, len(step.tokens), tokens)


def value(terms: Terms) -> float:
    """The loss, summed exactly."""
    return math.fsum(float(term.detach()) for term in terms.values())


def gradients(training: TrainingState, terms: Terms) -> dict[str, Tensor]:
    """The gradient of the loss for every parameter; zeros for unused ones."""
    named = dict(training.model.hf.named_parameters())
    found = torch.autograd.grad(sum(terms.values()), list(named.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(named.items(), found, strict=True)
    }


def with_retain(name: str) -> Objective:
    """The objective with a weight on its retain term, if it has one."""
    objective = objective_of(name)
    named = {item.name for item in fields(objective)}
    return replace(objective, retain_weight=0.7) if "retain_weight" in named else objective


def both(objective: Objective, training: TrainingState, portion: Portion) -> dict[str, Terms]:
    """The terms of each half."""
    return {
        "forget": objective.forget(training, portion),
        "retain": objective.retain(training, portion),
    }
