"""The weight path: the drop of the target, attributed to the change of each weight.

Integrated gradients (arXiv 1703.01365) along the straight path in weight space from the unlearned
to the original model:

    C_φ = (φ_before − φ_after) ∫₀¹ ∂F(θ_after + t (θ_before − θ_after)) / ∂φ dt

    Σ_φ C_φ = F(θ_before) − F(θ_after) = the drop   (completeness)

A positive contribution means that the change of this weight reduced the target. No baseline is
needed, and the contributions of all parameters together are complete. They are summed over the
weights of each neuron (`neuron_weights.py`), module and layer. They show *where* the answer was
lost, not whether it was erased or hidden.
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
from neuronscope.models.hooked_model import HookedModel
from neuronscope.models.interventions import check_same_shapes
from neuronscope.models.neuron_weights import NeuronWeights, layer_of, module_of, neuron_weights
from neuronscope.models.passes import answer_logits
from neuronscope.models.targets import Answers
from neuronscope.results.findings import Finding

OUTSIDE = -1
"""The `layer` of parameters outside the decoder layers: embeddings, the final norm."""


TOLERANCE = 1e-4
"""Tolerance for the error of the sum of contributions, as a share of the drop."""


@dataclass(frozen=True)
class WeightPath(Evidence):
    """The contribution of every weight's change to the drop of the target; complete."""

    nodes: int = 8
    """Gauss-Legendre nodes on the path; doubled until the contributions add up to the drop."""

    max_nodes: int = 64
    """Maximum number of nodes; a warning is added if the contributions still do not add up."""

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
    """Sums of contributions by parameter and by neuron."""

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
        """The sum over all parameters."""
        return math.fsum(self.total.values())

    def add(self, model: HookedModel, case: Case, weight: float) -> None:
        """Add the contributions of one node, holding one parameter's gradient at a time."""
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
        """The finding, with the error of the sum of contributions."""
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
            meaning="sum of all weights' contributions to the drop of the target",
            why=f"The contributions of all weights sum to the drop of {drop:.3f} to within "
            f"{abs(missing):.1e}; the largest shares are those of {first}.",
            figures={"drop": drop, "total": total, "missing": missing, "nodes": nodes},
            tables={"modules": modules, "neurons": neurons},
            warnings=()
            if abs(missing) <= TOLERANCE * abs(drop)
            else (
                f"With {nodes} nodes, the contributions differ from the drop of {drop:.1e} by "
                f"{missing:.1e}, more than 0.01 % of it.",
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
        """One row per neuron with weights: site, layer, neuron, contribution, norm (‖Δθ‖)."""
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
    """Set the weights to a point of the path: 0 is the unlearned, 1 the original model."""
    with torch.no_grad():
        for name, parameter in model.hf.named_parameters():
            after = case.after.hf.get_parameter(name).to(parameter)
            before = case.before.hf.get_parameter(name).to(parameter)
            parameter.copy_(torch.lerp(after, before, t))
