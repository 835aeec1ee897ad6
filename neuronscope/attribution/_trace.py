"""One fact, token by token: the activation and influence of each neuron at each position."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuronscope.attribution._base import GIB, check_neurons
from neuronscope.attribution._baselines import Baseline, Zero
from neuronscope.attribution._paths import Effort, along_paths
from neuronscope.attribution._positions import whole
from neuronscope.attribution.gradient_x_activation import products
from neuronscope.attribution.integrated_gradients import IntegratedGradients, _FromBaseline
from neuronscope.display import html_card, html_table, shown_number
from neuronscope.facts.fact import Fact
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hook_points import HookPoint
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.loading import as_model
from neuronscope.models.passes import frozen
from neuronscope.models.targets import Target

SHOWN = 10
"""Maximum number of neurons in the HTML representation of a trace."""


@dataclass(frozen=True)
class Trace:
    """Some neurons at every position of one fact, with influence in the target's unit."""

    fact: str
    """The fact's id."""

    tokens: tuple[str, ...]
    """The text of each position's token; the answer's last token is not an input."""

    predicting: Bool[np.ndarray, " pos"]
    """Whether each position predicts a token of the answer."""

    layer: Int[np.ndarray, " neuron"]
    """The layer of each traced neuron."""

    neuron: Int[np.ndarray, " neuron"]
    """Its index within the layer."""

    activation: Float[np.ndarray, "pos neuron"]

    gradient_x_activation: Float[np.ndarray, "pos neuron"]
    """First-order influence: the activation times the target's gradient."""

    integrated_gradients: Float[np.ndarray, "pos neuron"]
    """Influence along the path from the baseline, with one layer moving at a time."""

    score: float
    """The value of the target."""

    layers: Int[np.ndarray, " layer"]
    """The layers that were integrated."""

    baseline_score: Float[np.ndarray, " layer"]
    """The target with all neurons of a layer at the baseline."""

    completeness_error: Float[np.ndarray, " layer"]
    """Score − baseline score − integrated gradients, summed over all positions and all neurons of
    the layer, including those that are not traced."""

    site: str
    """The site of the neurons."""

    target: str
    """The name of the target, e.g. `log_odds`."""

    unit: str
    """The target's unit."""

    baseline: str
    """The start of the paths, e.g. `mean over 8 neutral facts`."""

    notes: tuple[str, ...] = ()
    """Caveats for the interpretation of the influences."""

    def table(self) -> pd.DataFrame:
        """One row per position and neuron.

        Returns:
            Columns `pos`, `token`, `layer`, `neuron`, `activation`, `gradient_x_activation` and
            `integrated_gradients`.
        """
        pos, neuron = (index.ravel() for index in np.indices(self.activation.shape))
        return pd.DataFrame(
            {
                "pos": pos,
                "token": np.array(self.tokens, dtype=object)[pos],
                "layer": self.layer[neuron],
                "neuron": self.neuron[neuron],
                "activation": self.activation.ravel(),
                "gradient_x_activation": self.gradient_x_activation.ravel(),
                "integrated_gradients": self.integrated_gradients.ravel(),
            }
        )

    def __repr__(self) -> str:
        error = np.abs(self.completeness_error).max()
        return (
            f"Trace({self.fact!r:.60}, {len(self.tokens)} tokens x {len(self.neuron)} neurons at "
            f"{self.site}, {self.target}, completeness error {shown_number(float(error))})"
        )

    def _repr_html_(self) -> str:
        """The neurons with the largest influence, token by token."""
        strength = np.abs(self.integrated_gradients.sum(axis=0))
        top = np.argsort(-strength, kind="stable")[:SHOWN]
        head = ["token", *(f"layer {self.layer[i]}, neuron {self.neuron[i]}" for i in top)]
        rows = [
            [token, *(shown_number(float(row[i])) for i in top)]
            for token, row in zip(self.tokens, self.integrated_gradients, strict=True)
        ]
        text = f"Integrated gradients of {self.target} ({self.unit}) at each token."
        if len(top) < len(self.neuron):
            text += f" The {len(top)} strongest of {len(self.neuron):,} neurons."
        text = " ".join((text, f"Baseline: {self.baseline}.", *self.notes))
        return html_card(repr(self), text, html_table(head, rows))


def trace(
    model: HookedModel | str | Path,
    fact: Fact,
    neurons: Sequence[tuple[int, int]] | None = None,
    site: str = "mlp.post",
    target: Target | None = None,
    form: str = "completion",
    steps: int = IntegratedGradients.steps,
    *,
    baseline: Baseline | Literal["mean", "zero"] = "mean",
    memory: int = 2 * GIB,
) -> Trace:
    """The activation and influence of neurons at every position of one fact.

    Summed over positions, the influences equal those that `GradientXActivation` and, with the same
    baseline, `IntegratedGradients` record.

    Args:
        model: A model, or a name or path that `load_model` accepts.
        fact: The fact.
        neurons: The neurons as (layer, neuron); by default, all neurons of the site.
        site: The site of the neurons.
        target: The quantity that neurons influence; by default, the answer's log-odds.
        form: The prompt form, one of `neuronscope.facts.prompts.PROMPT_FORMS`.
        steps: Nodes of the quadrature on each path.
        baseline: The start of the paths. `mean` is each neuron's mean over neutral facts that the
            model answers, as for a recording of facts to be forgotten; if the model answers none,
            zero is used, and a note says so.
        memory: Bytes that a pass may use in addition to the model's.

    Raises:
        ValueError: If the fact cannot be encoded for this model, or the model has no such site or
            neuron.
    """
    model, target = as_model(model), target or Target()
    hook_points = _hook_points(model, site, neurons)
    batch = Batch.of([encode(fact, model.tokenizer, form)], model.device)
    target.check(batch, (fact.id,))
    part = whole(batch)
    scores, _, first_order = products(model, part, hook_points, target)
    method = IntegratedGradients(steps=steps, max_steps=max(steps, IntegratedGradients.max_steps))
    start, notes = _start(model, fact, site, form, method, baseline)
    effort = Effort(method.steps, method.tolerance, method.max_steps)
    groups = [(hook_point,) for hook_point in hook_points]
    with frozen(model):
        found = along_paths(start, effort, model, part, groups, target, memory)
    layers = [hook_point.layer for hook_point in hook_points]
    chosen = neurons or [(h.layer, neuron) for h in hook_points for neuron in range(h.width)]
    layer, neuron = np.array(chosen, dtype=np.int64).T

    def columns(values: dict[HookPoint, Tensor]) -> Float[np.ndarray, "pos neuron"]:
        grid = torch.stack([values[hook_point][0].double().cpu() for hook_point in hook_points])
        return grid.numpy()[np.searchsorted(layers, layer), :, neuron].T

    score = float(scores[0])
    baselines = np.array([float(found.baseline_score[group][0]) for group in groups])
    explained = np.array([float(found.influence[h][0].double().sum()) for h in hook_points])
    return Trace(
        fact=fact.id,
        tokens=tuple(
            str(model.tokenizer.decode([token])) for token in part.inputs.tokens[0].tolist()
        ),
        predicting=part.predicting[0].cpu().numpy(),
        layer=layer,
        neuron=neuron,
        activation=columns(found.neurons),
        gradient_x_activation=columns(first_order),
        integrated_gradients=columns(found.influence),
        score=score,
        layers=np.array(layers, dtype=np.int64),
        baseline_score=baselines,
        completeness_error=score - baselines - explained,
        site=site,
        target=target.name,
        unit=target.unit,
        baseline=str(start),
        notes=notes,
    )


def _start(
    model: HookedModel,
    fact: Fact,
    site: str,
    form: str,
    method: IntegratedGradients,
    baseline: Baseline | Literal["mean", "zero"],
) -> tuple[Baseline, tuple[str, ...]]:
    """The baseline, and notes about it."""
    if not isinstance(baseline, str):
        return baseline, ()
    if baseline == "zero":
        return Zero(), ()
    prepared = method.prepared(model, (("forget", fact),), (site,), form)
    assert isinstance(prepared, _FromBaseline), "the mean has been measured"
    return prepared.start, prepared.notes


def _hook_points(
    model: HookedModel, site: str, neurons: Sequence[tuple[int, int]] | None
) -> tuple[HookPoint, ...]:
    """The layers of the site that contain at least one of the neurons, in order.

    Raises:
        ValueError: If a site or neuron does not exist, or no neuron is given.
    """
    everywhere = model.hook_points_at(site)
    if neurons is None:
        return everywhere
    if not neurons:
        raise ValueError("Expected at least one neuron to trace, got none.")
    check_neurons(neurons, len(everywhere), everywhere[0].width)
    wanted = {layer for layer, _ in neurons}
    return tuple(hook_point for hook_point in everywhere if hook_point.layer in wanted)
