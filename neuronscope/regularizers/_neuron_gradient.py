"""The gradient of Σ_i v_i A_i by the parameters, in three ways."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from neuronscope.models.hook_points import HookFunction, HookPoint, hooked
from neuronscope.objectives import Gradients, Portion, Step
from neuronscope.regularizers._scores import scores_of
from neuronscope.regularizers._settings import NeuronInfluence


@dataclass(frozen=True, eq=False)
class Pull:
    """v: how hard each neuron's attribution is pulled, held constant."""

    table: dict[str, Float[Tensor, "row layer _"]]

    rows: dict[Portion, slice]
    """Each portion's facts among the rows; where it is not named, the one row is for all."""

    def at(self, hook_point: HookPoint, portion: Portion) -> Float[Tensor, "row 1 neuron"]:
        """The v of the neurons at one hook point, for each of a portion's facts or for all of them."""
        return self.table[hook_point.site][
            self.rows.get(portion, slice(None)), hook_point.layer, None
        ]


@contextmanager
def open_neurons(
    rule: NeuronInfluence, step: Step, portion: Portion
) -> Iterator[dict[HookPoint, Float[Tensor, "batch pos _"]]]:
    """While active, a pass over the portion puts its neurons here, open to gradients."""
    neurons: dict[HookPoint, Tensor] = {}

    def keep(hook_point: HookPoint) -> HookFunction:
        def through(here: Tensor) -> Tensor:
            # Below the first parameter that is trained nothing has a gradient yet.
            neurons[hook_point] = here if here.requires_grad else here.detach().requires_grad_()
            return neurons[hook_point]

        return through

    with hooked(
        [(hook_point, keep(hook_point)) for hook_point in _hook_points(rule, step)],
        _length(portion),
    ):
        yield neurons


def pulled(rule: NeuronInfluence, step: Step, pull: Pull, precision: torch.dtype) -> Gradients:
    """∇ Σ_i v_i A_i over the step's facts.

    Args:
        precision: The coarsest in which neurons are computed.
    """
    if rule.order == "finite-difference":
        return _by_difference(rule, step, pull, precision)
    exact = rule.order == "exact"

    def weighted(portion: Portion) -> Float[Tensor, ""]:
        with open_neurons(rule, step, portion) as neurons, _kernel(exact):
            score = scores_of(step.training.model, portion, rule.explained).sum()
        slopes = torch.autograd.grad(
            score, list(neurons.values()), create_graph=exact, retain_graph=True
        )
        parts = [
            (pull.at(hook_point, portion).to(here.device) * (here * slope)).sum().to(score.device)
            for (hook_point, here), slope in zip(neurons.items(), slopes, strict=True)
        ]
        return torch.stack(parts).sum()

    return step.gradient(weighted)


def _by_difference(
    rule: NeuronInfluence, step: Step, pull: Pull, precision: torch.dtype
) -> Gradients:
    """The central difference of ∇F with every neuron scaled by 1 ± εv.

    d/dε F(h_i (1 + εv_i)) at ε = 0 is Σ_i v_i A_i, since every A_i counts what follows from neuron
    i in later layers. The neuron that is pulled hardest is scaled by the cube root of the
    precision, where the errors of rounding and of the difference meet. That is single precision at
    most: models take their norms in it, whatever their parameters are.
    """
    largest = torch.stack([v.abs().amax() for v in pull.table.values()]).amax()
    if pull.rows:
        # Processes hold other facts, but have to scale alike: their sum bounds the maximum.
        largest = step.total(largest)
    rounding = max(torch.finfo(precision).eps, torch.finfo(torch.float32).eps)
    scale = rounding ** (1 / 3) / float(largest)

    def nudged(by: float) -> Callable[[Portion], Float[Tensor, ""]]:
        def score(portion: Portion) -> Float[Tensor, ""]:
            def through(hook_point: HookPoint) -> HookFunction:
                factor = 1 + by * pull.at(hook_point, portion)
                return lambda here: (here * factor.to(here.device)).to(here.dtype)

            functions = [
                (hook_point, through(hook_point)) for hook_point in _hook_points(rule, step)
            ]
            with hooked(functions, _length(portion)):
                return scores_of(step.training.model, portion, rule.explained).sum()

        return score

    up, down = step.gradient(nudged(scale)), step.gradient(nudged(-scale))
    # An expert that only one of the two routes to has jumped: that is no derivative.
    return {name: (up[name] - down[name]) / (2 * scale) for name in up if name in down}


@contextmanager
def _kernel(exact: bool) -> Iterator[None]:
    """The attention kernel whose gradient has a gradient, where that is needed."""
    if not exact:
        yield
        return
    with sdpa_kernel(SDPBackend.MATH):
        yield


def _hook_points(rule: NeuronInfluence, step: Step) -> list[HookPoint]:
    return [
        hook_point
        for site in rule.places
        for hook_point in step.training.model.hook_points_at(site)
    ]


def _length(portion: Portion) -> int:
    return portion.batch.tokens.shape[1] - 1
