"""The weight path: the drop, shared out over what unlearning did to each weight.

Integrated gradients (arXiv 1703.01365) along the straight path in weight space from the model after
to the model before:

    C_φ = (φ_before − φ_after) ∫₀¹ ∂F(θ_after + t (θ_before − θ_after)) / ∂φ dt

    Σ_φ C_φ = F(θ_before) − F(θ_after) = the drop   (completeness)

Positive: this weight's change took the answer away. There is no baseline, and nothing lies
elsewhere: every parameter of the model has its share. Shares are summed to the neurons that own the
weights (`neuron_weights.py`), to modules and to layers. They say *where* the answer was lost, not
whether it was erased or hidden.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from neuronscope.analysis.rankings import rankings_of_weights
from neuronscope.evidence._base import Case, Evidence, Progress, no_progress, working_copy
from neuronscope.models.hooked_model import HookedModel, answer_logits
from neuronscope.models.interventions import check_same_shapes
from neuronscope.models.neuron_weights import NeuronWeights, layer_of, module_of, neuron_weights
from neuronscope.models.targets import Answers
from neuronscope.results.findings import Finding

OUTSIDE = -1
"""The layer of what lies in none: embeddings, the last norm."""


TOLERANCE = 1e-4
"""Share of the drop that the contributions may miss."""


@dataclass(frozen=True)
class WeightPath(Evidence):
    """The drop, shared out over the change of every weight; complete."""

    nodes: int = 8
    """Gauss-Legendre nodes on the path; doubled until the contributions add up."""

    max_nodes: int = 64
    """Most nodes of one try; a path that still does not add up is flagged."""

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= self.max_nodes:
            raise ValueError(
                f"Expected 1 <= nodes <= max_nodes, got {self.nodes} and {self.max_nodes}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        check_same_shapes(case.before, case.after)
        if not case.forget.any():
            raise ValueError("The weight path needs facts of split 'forget', got none.")
        model = working_copy(case.after)
        ends = []
        for t in (0.0, 1.0):
            _move(model, case, t)
            ends.append(float(case.measure(model).score[case.forget].mean()))
        drop = ends[1] - ends[0]
        nodes = self.nodes
        while True:
            shares = _Shares(case.before, case.after)
            points, weights = np.polynomial.legendre.leggauss(nodes)
            for done, (point, weight) in enumerate(zip(points, weights, strict=True), start=1):
                _move(model, case, (point + 1) / 2)
                shares.add(model, case, weight / 2)
                progress(done, nodes)
            if abs(drop - shares.sum) <= TOLERANCE * abs(drop) or 2 * nodes > self.max_nodes:
                return shares.finding(drop, nodes)
            nodes *= 2

    def rankings(self, finding: Finding) -> dict[str, Float[np.ndarray, "layer neuron"]]:
        return rankings_of_weights(finding.tables["neurons"])


class _Shares:
    """Sums of contributions: by parameter, and by neuron of each owner."""

    def __init__(self, before: HookedModel, after: HookedModel):
        self.model = after
        self.changes = {
            name: (mine, before.hf.get_parameter(name))
            for name, mine in after.hf.named_parameters()
        }
        self.owned: dict[str, list[NeuronWeights]] = {}
        for own in neuron_weights(after):
            self.owned.setdefault(own.parameter, []).append(own)
        self.total = dict.fromkeys(self.changes, 0.0)
        self.by_owner = {
            id(own): torch.zeros(own.width, dtype=torch.float64)
            for owners in self.owned.values()
            for own in owners
        }

    @property
    def sum(self) -> float:
        """Everything together."""
        return math.fsum(self.total.values())

    def add(self, model: HookedModel, case: Case, weight: float) -> None:
        """Add the contributions of one point of the path; no two gradients are held at once."""
        facts = int(case.forget.sum())

        def take(name: str, parameter: Tensor) -> None:
            assert parameter.grad is not None
            contribution = parameter.grad.mul_(self._change(name).to(parameter)).mul_(weight)
            self.total[name] += float(contribution.sum(dtype=torch.float64))
            for own in self.owned.get(name, ()):
                self.by_owner[id(own)] += own.per_neuron(contribution).cpu()
            parameter.grad = None

        hooks = [
            parameter.register_post_accumulate_grad_hook(
                lambda parameter, name=name: take(name, parameter)
            )
            for name, parameter in model.hf.named_parameters()
        ]
        try:
            for places, batch in case.batches():
                wanted = torch.from_numpy(case.forget[places])
                if not wanted.any():
                    continue
                answers = Answers.of(batch)
                logits = answer_logits(model, batch.tokens[:, :-1], answers)
                scores = case.target(logits, answers)
                (scores[wanted.to(scores.device)].sum() / facts).backward()
        finally:
            for hook in hooks:
                hook.remove()

    def _change(self, name: str) -> Tensor:
        after, before = self.changes[name]
        return before.detach().to(after.device) - after.detach()

    def finding(self, drop: float, nodes: int) -> Finding:
        """What was found, with its certificate."""
        total = self.sum
        modules, neurons = self._modules(), self._neurons()
        missing = drop - total
        by_module = {
            name: modules.loc[modules["module"] == name, "contribution"].sum() / total
            for name in modules["module"].unique()
        }
        first = ", ".join(
            f"{name} {by_module[name]:.0%}"
            for name in sorted(by_module, key=lambda name: -by_module[name])[:3]
        )
        return Finding(
            view="weight_path",
            word=None,
            value=total,
            ci95=(math.nan, math.nan),
            meaning="sum of all weights' contributions to the drop",
            why=f"The change of the weights explains the drop of {drop:.3f} to within "
            f"{abs(missing):.1e}; most of it runs through {first}.",
            figures={"drop": drop, "total": total, "missing": missing, "nodes": nodes},
            tables={"modules": modules, "neurons": neurons},
            warnings=()
            if abs(missing) <= TOLERANCE * abs(drop)
            else (
                f"The weight path misses {missing:.1e} of a drop of {drop:.1e}, more than 0.01 % "
                f"with {nodes} nodes.",
            ),
        )

    def _modules(self) -> pd.DataFrame:
        """One row per module and layer: `module`, `layer`, `contribution`, `norm` (‖Δθ‖)."""
        rows = []
        for name, total in self.total.items():
            layer = layer_of(self.model, name)
            square = self._change(name).double().square()
            left, left_square = total, float(square.sum())
            for own in self.owned.get(name, ()):
                part, part_square = float(self.by_owner[id(own)].sum()), own.per_neuron(square)
                left, left_square = left - part, left_square - float(part_square.sum())
                rows.append((own.module, own.layer, part, float(part_square.sum())))
            owners = self.owned.get(name)
            if owners is None or not torch.stack([own.owner >= 0 for own in owners]).any(0).all():
                module = module_of(self.model, name)
                rows.append((module, OUTSIDE if layer is None else layer, left, left_square))
        sums: dict[tuple[str, int], list[float]] = {}
        for module, layer, contribution, square in rows:
            both = sums.setdefault((module, layer), [0.0, 0.0])
            both[0] += contribution
            both[1] += square
        return pd.DataFrame(
            [
                (module, layer, contribution, math.sqrt(max(square, 0.0)))
                for (module, layer), (contribution, square) in sorted(sums.items())
            ],
            columns=["module", "layer", "contribution", "norm"],
        )

    def _neurons(self) -> pd.DataFrame:
        """One row per neuron that owns weights: site, layer, neuron, contribution, norm (‖Δθ‖)."""
        sums: dict[tuple[str, int], list[Tensor]] = {}
        for name, owners in self.owned.items():
            square = self._change(name).double().square()
            for own in owners:
                both = sums.setdefault(
                    (own.site, own.layer), [torch.zeros(own.width, dtype=torch.float64)] * 2
                )
                both[0] = both[0] + self.by_owner[id(own)]
                both[1] = both[1] + own.per_neuron(square).cpu()
        parts = [
            pd.DataFrame(
                {
                    "site": site,
                    "layer": layer,
                    "neuron": np.arange(len(contribution)),
                    "contribution": contribution.numpy(),
                    "norm": square.sqrt().numpy(),
                }
            )
            for (site, layer), (contribution, square) in sorted(sums.items())
        ]
        return pd.concat(parts, ignore_index=True)


def _move(model: HookedModel, case: Case, t: float) -> None:
    """Put the model at a point of the path: 0 is after, 1 is before."""
    with torch.no_grad():
        for name, parameter in model.hf.named_parameters():
            after = case.after.hf.get_parameter(name).to(parameter)
            before = case.before.hf.get_parameter(name).to(parameter)
            parameter.copy_(torch.lerp(after, before, t))
