"""Interventions on chosen neurons that leave the model unchanged on exit.

They change either *activations* (ablated, scaled, set to a value, patched from another model) or
*weights* (a neuron's weights replaced by another model's). All are context managers; on exit, even
after an exception, the model is bit-equal to what it was.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import HookFunction, HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neuron_weights import OWNING_SITES, NeuronWeights, neuron_weights
from neuronscope.models.passes import answer_logits, frozen
from neuronscope.models.targets import Answers

Chosen = Mapping[str, Bool[np.ndarray, "layer _"]]
"""Masks of the chosen neurons, by site; sites differ in width."""


@contextmanager
def scaled(model: HookedModel, chosen: Chosen, by: float) -> Iterator[None]:
    """While active, multiply the activations of chosen neurons by a factor; 0 ablates them.

    Raises:
        ValueError: If the choice does not fit the model.
    """

    def scale(neurons: Tensor, mask: Tensor) -> Tensor:
        return torch.where(mask, neurons * by, neurons)

    with _hooked(model, chosen, lambda _: scale):
        yield


@contextmanager
def set_to(
    model: HookedModel, chosen: Chosen, values: Mapping[str, Float[np.ndarray, "layer _"]]
) -> Iterator[None]:
    """While active, set chosen neurons to the same value at every position, e.g. to their mean.

    Raises:
        ValueError: If the choice does not fit the model.
    """

    def constant(hook_point: HookPoint) -> Callable[[Tensor, Tensor], Tensor]:
        value = torch.from_numpy(
            np.asarray(values[hook_point.site][hook_point.layer], dtype=np.float64)
        )
        return lambda neurons, mask: torch.where(mask, value.to(neurons), neurons)

    with _hooked(model, chosen, constant):
        yield


@contextmanager
def patched(model: HookedModel, donor: HookedModel, chosen: Chosen, batch: Batch) -> Iterator[None]:
    """While active, replace the activations of chosen neurons by the donor's on the same batch.

    Raises:
        ValueError: If the choice does not fit either model.
    """
    _check(donor, chosen)
    tokens = batch.tokens[:, :-1]
    kept: dict[HookPoint, Tensor] = {}
    hook_points = [hook_point for site in chosen for hook_point in donor.hook_points_at(site)]
    # Frozen, since otherwise the dropout of a donor in training mode would be patched in.
    with frozen(donor), torch.no_grad(), hooked(keeping(hook_points, kept), 1):
        answer_logits(donor, tokens, Answers.of(batch))
    donated = {(hook_point.site, hook_point.layer): neurons for hook_point, neurons in kept.items()}

    def patch(hook_point: HookPoint) -> Callable[[Tensor, Tensor], Tensor]:
        theirs = donated[hook_point.site, hook_point.layer]
        return lambda neurons, mask: torch.where(mask, theirs.to(neurons), neurons)

    with _hooked(model, chosen, patch):
        yield


@contextmanager
def weights_from(model: HookedModel, donor: HookedModel, chosen: Chosen) -> Iterator[None]:
    """While active, chosen neurons have the donor's weights.

    With the original model as the donor, this restores neurons of the unlearned model; the other
    way round, it inserts the change into the original model.

    Raises:
        ValueError: If the choice does not fit, if a site's neurons own no weights, or if the models
            differ in shape.
    """
    check_same_shapes(model, donor)
    _check(model, chosen)
    for site in chosen:
        if site not in OWNING_SITES:
            raise ValueError(
                f"Neurons at {site} own no weights: choose neurons at {', '.join(OWNING_SITES)}."
            )
    saved: list[tuple[Tensor, tuple[Int[Tensor, " place"], ...], Tensor]] = []
    owned = [(own, _mask(chosen, own)) for own in neuron_weights(model) if own.site in chosen]
    try:
        with torch.no_grad():
            for own, mask in owned:
                view, places = own.places(model.hf.get_parameter(own.parameter), mask)
                theirs, _ = own.places(donor.hf.get_parameter(own.parameter), mask)
                saved.append((view, places, view[places].clone()))
                view[places] = theirs[tuple(p.to(theirs.device) for p in places)].to(view)
        yield
    finally:
        with torch.no_grad():
            for view, places, old in reversed(saved):
                view[places] = old


def check_same_shapes(model: HookedModel, other: HookedModel) -> None:
    """Check that the parameters of two models have the same names and shapes.

    Raises:
        ValueError: If they do not; the message names the first parameter that differs.
    """
    mine = {name: tuple(p.shape) for name, p in model.hf.named_parameters()}
    theirs = {name: tuple(p.shape) for name, p in other.hf.named_parameters()}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            raise ValueError(
                f"{name} is {mine.get(name, 'missing')} in {model.source} and "
                f"{theirs.get(name, 'missing')} in {other.source}: the models' weights cannot be "
                "exchanged."
            )


def _mask(chosen: Chosen, own: NeuronWeights) -> Bool[Tensor, " neuron"]:
    return torch.from_numpy(np.asarray(chosen[own.site][own.layer], dtype=bool))


def _check(model: HookedModel, chosen: Chosen) -> None:
    for site, mask in chosen.items():
        hook_points = model.hook_points_at(site)
        shape = (len(hook_points), hook_points[0].width)
        if mask.shape != shape:
            raise ValueError(
                f"Expected a choice of shape {shape} (layer, neuron) at {site}, got {mask.shape}."
            )


@contextmanager
def _hooked(
    model: HookedModel,
    chosen: Chosen,
    function: Callable[[HookPoint], Callable[[Tensor, Tensor], Tensor]],
) -> Iterator[None]:
    """Hook each hook point with its function of the neurons and the mask of chosen ones."""
    _check(model, chosen)

    def through(hook_point: HookPoint) -> HookFunction:
        mask = torch.from_numpy(np.asarray(chosen[hook_point.site][hook_point.layer], dtype=bool))
        change = function(hook_point)
        return lambda neurons: change(neurons, mask.to(neurons.device))

    hook_points = [
        hook_point
        for site in chosen
        for hook_point in model.hook_points_at(site)
        if chosen[site][hook_point.layer].any()
    ]
    # The functions act entry by entry, so it does not matter how a model lays out batch and
    # position: every row of its tensor is passed as a sequence of length 1.
    with hooked([(hook_point, through(hook_point)) for hook_point in hook_points], 1):
        yield
