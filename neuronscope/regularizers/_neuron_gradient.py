"""The gradient of Σ_i v_i A_i with respect to the parameters, computed in three ways."""

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
class Coefficients:
    """v, the coefficients of the neurons' attributions, held constant."""

    table: dict[str, Float[Tensor, "row layer _"]]

    rows: dict[Portion, slice]
    """The rows of each portion's facts; for a portion without entry, the single row applies."""

    def at(self, hook_point: HookPoint, portion: Portion) -> Float[Tensor, "row 1 neuron"]:
        """The coefficients at one hook point: a row per fact of a portion, or one row for all."""
        return self.table[hook_point.site][
            self.rows.get(portion, slice(None)), hook_point.layer, None
        ]


@contextmanager
def differentiable(
    rule: NeuronInfluence, step: Step, portion: Portion
) -> Iterator[dict[HookPoint, Float[Tensor, "batch pos _"]]]:
    """While active, a pass over the portion stores its neurons, which require gradients."""
    neurons: dict[HookPoint, Tensor] = {}

    def keep(hook_point: HookPoint) -> HookFunction:
        def through(values: Tensor) -> Tensor:
            # Below the first trained parameter, activations do not require gradients yet.
            required = values if values.requires_grad else values.detach().requires_grad_()
            neurons[hook_point] = required
            return required

        return through

    with hooked(
        [(hook_point, keep(hook_point)) for hook_point in _hook_points(rule, step)],
        _length(portion),
    ):
        yield neurons


def gradient_of(
    rule: NeuronInfluence, step: Step, coefficients: Coefficients, precision: torch.dtype
) -> Gradients:
    """∇ Σ_i v_i A_i over the facts of the step.

    Args:
        precision: The lowest precision in which neurons are computed.
    """
    if rule.order == "finite-difference":
        return _by_difference(rule, step, coefficients, precision)
    exact = rule.order == "exact"

    def weighted(portion: Portion) -> Float[Tensor, ""]:
        with differentiable(rule, step, portion) as neurons, _kernel(exact):
            score = scores_of(step.training.model, portion, rule.explained).sum()
        slopes = torch.autograd.grad(
            score, list(neurons.values()), create_graph=exact, retain_graph=True
        )
        parts = [
            (coefficients.at(hook_point, portion).to(neuron.device) * (neuron * slope))
            .sum()
            .to(score.device)
            for (hook_point, neuron), slope in zip(neurons.items(), slopes, strict=True)
        ]
        return torch.stack(parts).sum()

    return step.gradient(weighted)


def _by_difference(
    rule: NeuronInfluence, step: Step, coefficients: Coefficients, precision: torch.dtype
) -> Gradients:
    """The central difference of ∇F with every neuron scaled by 1 ± εv.

    d/dε F(h_i (1 + εv_i)) at ε = 0 is Σ_i v_i A_i, since A_i includes the effects of neuron i
    through later layers. The scale ε is such that the neuron with the largest |v_i| changes by the
    cube root of the machine epsilon, which balances rounding error and truncation error. The
    epsilon is at least that of single precision, because normalization layers compute in single
    precision whatever the precision of their parameters.
    """
    largest = torch.stack([v.abs().amax() for v in coefficients.table.values()]).amax()
    if coefficients.rows:
        # Processes hold different facts but need the same scale: the sum bounds the maximum.
        largest = step.total(largest)
    epsilon = max(torch.finfo(precision).eps, torch.finfo(torch.float32).eps)
    scale = epsilon ** (1 / 3) / float(largest)

    def rescaled(by: float) -> Callable[[Portion], Float[Tensor, ""]]:
        def score(portion: Portion) -> Float[Tensor, ""]:
            def through(hook_point: HookPoint) -> HookFunction:
                factor = 1 + by * coefficients.at(hook_point, portion)
                return lambda values: (values * factor.to(values.device)).to(values.dtype)

            functions = [
                (hook_point, through(hook_point)) for hook_point in _hook_points(rule, step)
            ]
            with hooked(functions, _length(portion)):
                return scores_of(step.training.model, portion, rule.explained).sum()

        return score

    up, down = step.gradient(rescaled(scale)), step.gradient(rescaled(-scale))
    # If only one of the two passes routes to an expert, the difference is no derivative.
    return {name: (up[name] - down[name]) / (2 * scale) for name in up if name in down}


@contextmanager
def _kernel(exact: bool) -> Iterator[None]:
    """While active and `exact`, use the attention kernel that can be differentiated twice."""
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
