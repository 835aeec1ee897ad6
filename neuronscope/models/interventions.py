"""Changing chosen neurons, in a model that comes back untouched.

Two kinds: what a neuron *says* (silenced, scaled, set, patched with another model's activations)
and what it *is* (its own weights taken from another model). All are context managers; when one is
left, also by an exception, the model is what it was, to the last bit.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuronscope.facts.prompts import Batch
from neuronscope.models.hook_points import HookFunction, HookPoint, hooked, keeping
from neuronscope.models.hooked_model import HookedModel, answer_logits, frozen
from neuronscope.models.neuron_weights import OWNING_SITES, NeuronWeights, neuron_weights
from neuronscope.models.targets import Answers

Chosen = Mapping[str, Bool[np.ndarray, "layer _"]]
"""Which neurons, by site; sites differ in width."""


@contextmanager
def scaled(model: HookedModel, chosen: Chosen, by: float) -> Iterator[None]:
    """While active, chosen neurons say `by` times what they would; 0 silences them.

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
    """While active, chosen neurons say the same at every position: their mean, for instance.

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
    """While active, on this batch, chosen neurons say what the donor's said.

    Raises:
        ValueError: If the choice does not fit either model.
    """
    _check(donor, chosen)
    tokens = batch.tokens[:, :-1]
    kept: dict[HookPoint, Tensor] = {}
    hook_points = [hook_point for site in chosen for hook_point in donor.hook_points_at(site)]
    # Frozen: a donor in training mode would have its dropout patched in.
    with frozen(donor), torch.no_grad(), hooked(keeping(hook_points, kept), 1):
        answer_logits(donor, tokens, Answers.of(batch))
    said = {(hook_point.site, hook_point.layer): neurons for hook_point, neurons in kept.items()}

    def patch(hook_point: HookPoint) -> Callable[[Tensor, Tensor], Tensor]:
        theirs = said[hook_point.site, hook_point.layer]
        return lambda neurons, mask: torch.where(mask, theirs.to(neurons), neurons)

    with _hooked(model, chosen, patch):
        yield


@contextmanager
def weights_from(model: HookedModel, donor: HookedModel, chosen: Chosen) -> Iterator[None]:
    """While active, what chosen neurons own is the donor's.

    With the model before as donor of the model after, neurons are restored; the other way round,
    the change is inserted into the model before.

    Raises:
        ValueError: If the choice does not fit, if a site's neurons own no weights, or if the models
            differ in shape.
    """
    check_same_shapes(model, donor)
    _check(model, chosen)
    for site in chosen:
        if site not in OWNING_SITES:
            raise ValueError(
                f"Neurons at {site} own no weights: choose them at {', '.join(OWNING_SITES)}."
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
    """Refuse two models whose parameters cannot stand for each other.

    Raises:
        ValueError: Naming the first parameter that differs.
    """
    mine = {name: tuple(p.shape) for name, p in model.hf.named_parameters()}
    theirs = {name: tuple(p.shape) for name, p in other.hf.named_parameters()}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            raise ValueError(
                f"{name} is {mine.get(name, 'missing')} in {model.source} and "
                f"{theirs.get(name, 'missing')} in {other.source}: their weights cannot stand for "
                "each other."
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
    """Apply to each hook point its function of neurons and the mask of chosen ones."""
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
    # Nothing here depends on where a token stands: one position at a time suits every layout.
    with hooked([(hook_point, through(hook_point)) for hook_point in hook_points], 1):
        yield
