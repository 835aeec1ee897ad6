"""What every attribution method takes and returns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import Field, dataclass, fields, is_dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.targets import Target

GIB = 2**30


@dataclass(frozen=True)
class Influence:
    """How much each neuron of one site moves the target, for a batch of facts.

    Positive raises the target. The unit is the target's.
    """

    total: Float[Tensor, "batch layer neuron"]
    """Summed over positions."""

    positive: Float[Tensor, "batch layer neuron"]
    """Largest at any position (arXiv 2509.22263: the maximum over tokens)."""

    negative: Float[Tensor, "batch layer neuron"]
    """Smallest at any position (arXiv 2509.22263: the minimum over tokens)."""

    activation: Float[Tensor, "batch layer neuron"]
    """The neuron itself, averaged over the positions that predict the answer."""

    baseline_score: Float[Tensor, "batch group"]
    """The target with the group (a layer, or all layers on the joint path) at its baseline."""

    explained: Float[Tensor, "batch group"]
    """Sum of `total` over the group's neurons. Complete if it equals score − baseline score."""

    nodes: Float[Tensor, "batch group"]
    """Gradient evaluations spent."""


class Attribution(ABC):
    """A method: hyper-parameters, and one law from model and facts to influence."""

    every_neuron: ClassVar[bool] = True
    """Whether every neuron is measured, as a diagnosis needs it; or only a sample."""

    @abstractmethod
    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        """Influence of every neuron of the sites on the target, all layers at once.

        Args:
            memory: Bytes that may be used beyond the model's own. Smaller is slower, never
                different by more than rounding.
        """

    def check(self, facts: Iterable[tuple[str, Fact]]) -> None:
        """Refuse facts that this method cannot be applied to, before any model is read.

        Raises:
            ValueError: Naming what they lack.
        """
        del facts

    def prepared(
        self,
        model: HookedModel,
        facts: Iterable[tuple[str, Fact]],
        sites: Sequence[str],
        form: str,
        neutral: Sequence[Fact] | None = None,
    ) -> "Attribution":
        """The method with everything that it first has to measure on the model.

        Its provenance is then complete, and preparing it again changes nothing.

        Args:
            facts: The facts that are recorded, each with its split.
            form: How a fact is put to the model.
            neutral: Facts that stand in where every recorded fact is to be forgotten; the shipped
                ones that this model answers if not given. Two models that are compared need the
                same ones.
        """
        del model, facts, sites, form, neutral
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the recording must know of this method, one sentence each."""
        return ()

    def settings(self) -> dict[str, str | int | float | bool | None]:
        """The hyper-parameters as plain values, for a result's provenance."""
        plain = {}
        for item in setting_fields(type(self)):
            value = vars(self)[item.name]
            plain[item.name] = value if isinstance(value, str | int | float | None) else str(value)
        return plain


def setting_fields(method: type[Attribution]) -> tuple[Field[object], ...]:
    """The hyper-parameters of a method: every one is a frozen dataclass.

    Raises:
        TypeError: If it is not.
    """
    if not is_dataclass(method):
        raise TypeError(f"{method.__name__} must be a frozen dataclass.")
    return fields(method)


def over_positions(
    influence: Float[Tensor, "batch pos neuron"], real: Bool[Tensor, "batch pos"]
) -> tuple[
    Float[Tensor, "batch neuron"], Float[Tensor, "batch neuron"], Float[Tensor, "batch neuron"]
]:
    """Sum, maximum and minimum over the positions that are `real`: neither padding nor fixed."""
    away = ~real[..., None].to(influence.device)
    return (
        influence.masked_fill(away, 0).sum(dim=1),
        influence.masked_fill(away, -torch.inf).amax(dim=1),
        influence.masked_fill(away, torch.inf).amin(dim=1),
    )


def at_answer(
    neurons: Float[Tensor, "batch pos neuron"], predicting: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch neuron"]:
    """Neurons averaged over the positions that predict the answer's tokens."""
    weight = predicting.to(neurons)
    return (neurons * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True)
