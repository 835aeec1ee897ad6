"""The interface of attribution methods."""

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
    """The influence of each neuron of one site on the target, for a batch of facts.

    Positive influence increases the target. The unit is that of the target.
    """

    total: Float[Tensor, "batch layer neuron"]
    """The sum over positions."""

    positive: Float[Tensor, "batch layer neuron"]
    """The maximum over positions, as in arXiv 2509.22263."""

    negative: Float[Tensor, "batch layer neuron"]
    """The minimum over positions, as in arXiv 2509.22263."""

    activation: Float[Tensor, "batch layer neuron"]
    """The activation, averaged over the positions that predict the answer."""

    baseline_score: Float[Tensor, "batch group"]
    """The target with the group (a layer, or all layers on the joint path) at its baseline."""

    explained: Float[Tensor, "batch group"]
    """Sum of `total` over the group's neurons; complete if it equals score − baseline score."""

    nodes: Float[Tensor, "batch group"]
    """Number of gradient evaluations."""


class Attribution(ABC):
    """A method: its settings, and a call that computes influence from a model and facts."""

    every_neuron: ClassVar[bool] = True
    """Whether every neuron gets a value, as a diagnosis requires, or only a sample does."""

    @abstractmethod
    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        """The influence of every neuron of the sites on the target, for all layers.

        Args:
            memory: Bytes to use in addition to the model's. With less memory, the method is slower
                and results differ only by rounding.
        """

    def check(self, facts: Iterable[tuple[str, Fact]]) -> None:
        """Check, before a model is loaded, that the method can be applied to the facts.

        Raises:
            ValueError: If it cannot; the message says what the facts lack.
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
        """The method, with all preliminary measurements on the model done.

        Its provenance is then complete, and preparing it again has no effect.

        Args:
            facts: The recorded facts, each with its split.
            form: The prompt form.
            neutral: Facts to measure a baseline on if all recorded facts are in the forget set. By
                default, the shipped facts that this model answers. To compare two models, use the
                same facts for both.
        """
        del model, facts, sites, form, neutral
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes to store with the recording, one sentence each."""
        return ()

    def settings(self) -> dict[str, str | int | float | bool | None]:
        """The hyper-parameters as plain values, for a result's provenance."""
        plain = {}
        for item in setting_fields(type(self)):
            value = vars(self)[item.name]
            plain[item.name] = value if isinstance(value, str | int | float | None) else str(value)
        return plain


def setting_fields(method: type[Attribution]) -> tuple[Field[object], ...]:
    """The hyper-parameters of a method.

    Raises:
        TypeError: If the method is not a frozen dataclass.
    """
    if not is_dataclass(method):
        raise TypeError(f"{method.__name__} must be a frozen dataclass.")
    return fields(method)


def check_neurons(neurons: Iterable[tuple[int, int]], layers: int, width: int) -> None:
    """Check that neurons, given as (layer, neuron), exist.

    Raises:
        ValueError: If one does not.
    """
    for layer, neuron in neurons:
        if not (0 <= layer < layers and 0 <= neuron < width):
            raise ValueError(
                f"No neuron {neuron} in layer {layer}: the model has layers 0 to {layers - 1} "
                f"with {width} neurons each."
            )


def over_positions(
    influence: Float[Tensor, "batch pos neuron"], real: Bool[Tensor, "batch pos"]
) -> tuple[
    Float[Tensor, "batch neuron"], Float[Tensor, "batch neuron"], Float[Tensor, "batch neuron"]
]:
    """Sum, maximum and minimum over positions.

    Args:
        real: The positions to include: neither padding nor, on a path, positions that do not move.
    """
    excluded = ~real[..., None].to(influence.device)
    return (
        influence.masked_fill(excluded, 0).sum(dim=1),
        influence.masked_fill(excluded, -torch.inf).amax(dim=1),
        influence.masked_fill(excluded, torch.inf).amin(dim=1),
    )


def at_answer(
    neurons: Float[Tensor, "batch pos neuron"], predicting: Bool[Tensor, "batch pos"]
) -> Float[Tensor, "batch neuron"]:
    """Activations averaged over the positions that predict the answer's tokens."""
    weight = predicting.to(neurons)
    return (neurons * weight[..., None]).sum(dim=1) / weight.sum(dim=1, keepdim=True)
