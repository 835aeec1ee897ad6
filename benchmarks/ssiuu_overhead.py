"""What SSIUU and its controls cost: step time and peak memory beside plain gradient difference.

Each variant trains the given model in a process of its own, round after round, so that none profits
from what another has left and slow minutes of the machine hit all alike. Time is the median over
steps, the first left out; memory is the process's peak less that of having loaded the model.

The floor of a variant is counted in passes: forward 1, backward to the neurons 1, backward to the
weights 2. Gradient difference needs 6 (both halves), and nothing else is counted: no arithmetic on
weights, and no optimizer, which all have in common.

    python benchmarks/ssiuu_overhead.py MODEL FACTS [--rounds 2] [--steps 4] [--out FILE.csv]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

PLAIN = 6
"""Passes of gradient difference: forward and backward to the weights, twice."""

NEURON = {"unit": "neuron", "anchor": "previous", "relative": 1.0}

VARIANTS: dict[str, tuple[str | None, dict[str, object], int]] = {
    "gradient difference": (None, {}, 0),
    "parameter, prob": ("ssiuu", {}, 3),
    "parameter, log-prob": ("ssiuu", {"target": "log-prob"}, 0),
    "parameter, prob, reference": ("ssiuu", {"anchor": "reference"}, 6),
    "neuron, finite difference": ("ssiuu", NEURON | {"order": "finite-difference"}, 2 + 6),
    "neuron, exact": ("ssiuu", NEURON | {"order": "exact"}, 2 + 2 + 4),
    "neuron, frozen gradient": ("ssiuu", NEURON | {"order": "frozen-gradient"}, 2 + 4),
    "neuron, finite difference, reference": (
        "ssiuu", NEURON | {"order": "finite-difference", "anchor": "reference"}, 2 + 2 + 6,
    ),
    "l2 to reference": ("l2_to_reference", {"relative": 1.0}, 0),
    "damping": ("damping", {"relative": 1.0}, 0),
}  # fmt: skip
"""Regularizer, its settings, and the passes that it adds."""


def train(model: str, facts: str, variant: str, steps: int) -> dict[str, float]:
    """Median seconds of a step, and bytes at the peak beyond those of the loaded model."""
    import torch

    from neuronscope._discover import method_class
    from neuronscope.fact_formats import load_facts
    from neuronscope.loading import load_model
    from neuronscope.objectives.gradient_difference import GradientDifference
    from neuronscope.regularizers._base import Regularizer
    from neuronscope.training import TrainingConfig, unlearn
    from neuronscope.training.history import peak_memory

    name, settings, _ = VARIANTS[variant]
    regularizer = (
        None if name is None else method_class("regularizers", name, Regularizer)(**settings)
    )
    loaded = load_model(model)
    before = peak_memory(loaded.device)
    config = TrainingConfig(
        learning_rate=3e-6, steps=steps, evaluate_every=10 * steps, evaluate_facts=1
    )
    run = unlearn(loaded, GradientDifference(), load_facts(Path(facts)), regularizer, config=config)
    rows = run.history.iloc[2:]
    return {
        "seconds": float(rows["seconds"].median()),
        "memory": float(rows["peak_memory"].max() - before),
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    """Train every variant in every round, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("facts")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ssiuu_overhead.csv"))
    parser.add_argument(
        "--variant", choices=VARIANTS, help="measure this one, and print it as JSON"
    )
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(train(options.model, options.facts, options.variant, options.steps)))
        return
    rows = []
    for number in range(options.rounds):
        for variant in VARIANTS:
            command = [sys.executable, __file__, options.model, options.facts]
            command += ["--variant", variant, "--steps", str(options.steps)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append({"round": number, "variant": variant} | json.loads(said.splitlines()[-1]))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).groupby("variant", sort=False)[["seconds", "memory"]].median()
    plain = table.loc["gradient difference"]
    table["time_ratio"] = table["seconds"] / plain["seconds"]
    table["floor"] = [(PLAIN + VARIANTS[name][2]) / PLAIN for name in table.index]
    table["over_floor"] = table["time_ratio"] / table["floor"]
    table["memory_ratio"] = table["memory"] / plain["memory"]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out)
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
