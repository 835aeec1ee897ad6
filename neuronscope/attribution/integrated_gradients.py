"""Integrated gradients of the target along a straight path of activations.

Sundararajan, Taly & Yan, *Axiomatic Attribution for Deep Networks*, arXiv 1703.01365, applied to
hidden neurons h with baseline b (knowledge neurons, arXiv 2104.08696, are the special case of the
last position and a zero baseline):

    A = (h − b) ∫₀¹ ∂F(b + α (h − b)) / ∂h dα,      Σ A = F(h) − F(b)   (completeness)

Either one layer moves at a time and later layers are computed from it, or all layers of a site move
together as independent inputs. The integral is computed by Gauss-Legendre quadrature; the path is
divided where the result is not complete.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from neuronscope.attribution._base import GIB, Attribution, Influence
from neuronscope.attribution._baselines import (
    Baseline,
    Reference,
    Zero,
    check_reference,
    mean_baseline,
)
from neuronscope.attribution._collect import Group, collect
from neuronscope.attribution._paths import Effort, along_paths
from neuronscope.attribution._positions import Positions, parts
from neuronscope.facts.fact import Fact, facts_hash
from neuronscope.facts.prompts import Batch, encode
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.neutral_facts import neutral_facts
from neuronscope.models.passes import frozen
from neuronscope.models.targets import Target


@dataclass(frozen=True)
class IntegratedGradients(Attribution):
    """Integrated gradients along the path from a baseline to the activations; complete."""

    steps: int = 4
    """Gauss-Legendre nodes on a path, and on each part of a divided path. Four nodes with division
    are more accurate than eight without, at two thirds of the cost."""

    tolerance: float = 1e-3
    """Tolerated error of the sum, in units of the target; the path is divided until it is met."""

    max_steps: int = 192
    """Maximum number of nodes on one path; a path with a larger error is flagged."""

    path: Literal["per_layer", "joint"] = "per_layer"
    """Whether one layer moves at a time, with later layers recomputed, or all layers of a site move
    together."""

    positions: Positions = "all"
    """The positions that move: all, those that predict the answer, or the last of the prompt."""

    baseline: Literal["mean", "zero", "reference"] = "mean"
    """The start of the path: the mean of each neuron over the recorded facts outside the forget set
    (or over neutral facts if there are none), zero, or the activations on the `reference` prompt.
    """

    reference: str = ""
    """The prompt at the start of the path; a shorter one is extended by its last token."""

    def __post_init__(self) -> None:
        positive = 0 < self.tolerance < float("inf")
        if self.steps < 1 or self.max_steps < self.steps or not positive:
            raise ValueError(
                "Expected `steps` of 1 or more, `max_steps` of `steps` or more, and a positive "
                "`tolerance`, got "
                f"steps={self.steps}, max_steps={self.max_steps}, tolerance={self.tolerance}."
            )
        check_reference(self.baseline, self.reference)

    def prepared(
        self,
        model: HookedModel,
        facts: Iterable[tuple[str, Fact]],
        sites: Sequence[str],
        form: str,
        neutral: Sequence[Fact] | None = None,
    ) -> Attribution:
        if self.baseline != "mean":
            return self
        others = [fact for split, fact in facts if split != "forget"]
        kind = "facts"
        if not others:
            # In chat form, a model may answer none of the neutral facts; those that it answers as
            # completions are then used.
            others = (
                neutral_facts(model, form) or neutral_facts(model) if neutral is None else neutral
            )
            # Means over different facts are different baselines: recordings that name different
            # facts cannot be compared.
            kind = f"neutral facts ({facts_hash(('neutral', fact) for fact in others)[:8]})"
        if not others:
            return _FromBaseline(self, Zero(), (NO_FACTS,))
        encoded = [encode(fact, model.tokenizer, form) for fact in others]
        batches = [Batch.of(encoded[i : i + 8], model.device) for i in range(0, len(encoded), 8)]
        return self.starting_at(replace(mean_baseline(model, batches, sites), kind=kind))

    def starting_at(self, baseline: Baseline) -> Attribution:
        """The method with a given baseline, a function of model, positions and hook point."""
        return _FromBaseline(self, baseline)

    def settings(self) -> dict[str, str | int | float | bool | None]:
        plain = Attribution.settings(self)
        if plain.pop("reference"):
            plain["baseline"] = str(Reference(self.reference))
        return plain

    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        if self.baseline == "mean":
            raise ValueError(
                "The mean baseline must be measured first: call prepared(), as record() does, or "
                "choose another baseline."
            )
        start = Reference(self.reference) if self.baseline == "reference" else Zero()
        return self.starting_at(start)(model, batch, sites, target, memory)


NO_FACTS = (
    "Integrated gradients use a zero baseline: all recorded facts are in the forget set, and the "
    "model answers none of the neutral facts whose mean could be the baseline."
)


@dataclass(frozen=True, eq=False)
class _FromBaseline(Attribution):
    """Integrated gradients with a given baseline."""

    method: IntegratedGradients
    start: Baseline
    remarks: tuple[str, ...] = ()
    """The method's notes."""

    @property
    def notes(self) -> tuple[str, ...]:
        return self.remarks

    def settings(self) -> dict[str, str | int | float | bool | None]:
        return self.method.settings() | {"baseline": str(self.start)}

    def __call__(
        self,
        model: HookedModel,
        batch: Batch,
        sites: Sequence[str],
        target: Target,
        memory: int = 2 * GIB,
    ) -> dict[str, Influence]:
        method = self.method
        effort = Effort(method.steps, method.tolerance, method.max_steps)
        groups: list[Group] = []
        for site in sites:
            hook_points = model.hook_points_at(site)
            groups += (
                [hook_points]
                if method.path == "joint"
                else [(hook_point,) for hook_point in hook_points]
            )
        with frozen(model):
            done = [
                (part, along_paths(self.start, effort, model, part, groups, target, memory))
                for part in parts(model, batch, method.positions)
            ]
        return collect(groups, done)
