"""Exactness: how well each gradient method ranks neurons by the exact effect of ablating them.

On a sample of neurons drawn evenly over the layers of the unlearned model, the exact effect of
ablating each neuron (`attribution/ablation.py`) is the ground truth, which all other attribution
methods approximate. A method that ranks these neurons poorly ranks all neurons poorly.
"""

import math
from dataclasses import dataclass

import pandas as pd

from neuronscope.analysis.agreement import agreement
from neuronscope.attribution import Attribution, record
from neuronscope.attribution.ablation import Ablation
from neuronscope.attribution.conductance import Conductance
from neuronscope.attribution.gradient_x_activation import GradientXActivation
from neuronscope.attribution.integrated_gradients import IntegratedGradients
from neuronscope.evidence._base import Case, Evidence, Progress, no_progress
from neuronscope.results.findings import Finding
from neuronscope.results.recording import Recording

# Ablation sets a neuron to zero, so paths from a zero baseline estimate the same effect. A few
# nodes suffice for ranks.
APPROXIMATIONS: dict[str, Attribution] = {
    "gradient_x_activation": GradientXActivation(),
    "integrated_gradients": IntegratedGradients(baseline="zero", max_steps=4),
    "joint_integrated_gradients": IntegratedGradients(baseline="zero", path="joint", max_steps=32),
    "conductance": Conductance(steps=16),
}
"""The methods that are compared with the exact effects."""


@dataclass(frozen=True)
class Exactness(Evidence):
    """Rank correlation of each approximate attribution with the exact effect of ablation."""

    neurons: int = 300
    """Number of neurons to ablate one by one, drawn evenly over layers."""

    facts: int = 6
    """Number of facts to evaluate, the first of the forget set."""

    seed: int = 0
    """Seed of the sample of neurons."""

    def __post_init__(self) -> None:
        if self.neurons < 3 or self.facts < 2:
            raise ValueError(
                f"Expected at least 3 neurons and 2 facts, got {self.neurons} and {self.facts}."
            )

    def __call__(self, case: Case, progress: Progress = no_progress) -> Finding:
        facts = [fact for split, fact in case.facts if split == "forget"][: self.facts]
        steps = len(APPROXIMATIONS) + 1

        def recorded(method: Attribution, done: int) -> Recording:
            result = record(
                case.after, facts, method, target=case.target, form=case.form, progress=False
            )
            progress(done, steps)
            return result

        truth = recorded(Ablation(sample=self.neurons, seed=self.seed), 1)
        rows = []
        for done, (name, method) in enumerate(APPROXIMATIONS.items(), start=2):
            found = agreement(recorded(method, done), truth)
            rows.append((name, found.spearman, *found.spearman_ci95, found.n_neurons))
        table = pd.DataFrame(rows, columns=["method", "correlation", "low", "high", "neurons"])
        best = table.sort_values("correlation", ascending=False, kind="stable").iloc[0]
        return Finding(
            view="exactness",
            word=None,
            value=float(best["correlation"]),
            ci95=(float(best["low"]), float(best["high"])),
            meaning="rank correlation of the best gradient method with the exact effect of "
            "ablating neurons",
            why=f"Over {best['neurons']} neurons ablated one by one on {len(facts)} facts, "
            f"{best['method'].replace('_', ' ')} agrees best with the exact effects: rank "
            f"correlation {best['correlation']:.2f} "
            f"(95 % interval {best['low']:.2f} to {best['high']:.2f}).",
            figures={"neurons": int(best["neurons"]), "facts": len(facts)},
            tables={"methods": table},
            warnings=()
            if not math.isnan(best["correlation"])
            else ("No method could be compared with the exact effects.",),
        )
