"""Overhead of SSIUU and its controls: step time and peak memory relative to gradient difference.

Each variant trains the given model in a separate process, in several rounds over all variants, so
that variants do not affect each other and slow phases of the machine affect all equally.
Time is the median over steps, without the first; memory is the peak of the process minus the peak
after loading the model. glibc is configured to keep its memory: by default it returns some after
each step and requests it again in the next, which affects variants at random.

The floor of a variant is counted in passes: forward 1, backward to the neurons 1, backward to the
weights 2. Gradient difference needs 6 (both halves). Arithmetic on weights is not counted, nor is
the optimizer, which all variants share. The penalty's arithmetic reads and writes the weights about
ten times per step, regardless of the number of tokens; its relative cost therefore depends on the
facts, so several files of facts can be given.

    python benchmarks/ssiuu_overhead.py MODEL FACTS [FACTS ...] [--rounds 2] [--steps 4]
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

PLAIN = 6
"""Passes of gradient difference: forward, and backward to the weights, twice."""

NEURON = {"anchor": "previous", "relative": 1.0}

VARIANTS: dict[str, tuple[str | None, dict[str, object], int]] = {
    "gradient difference": (None, {}, 0),
    "parameter, prob": ("ssiuu", {}, 3),
    "parameter, log-prob": ("ssiuu", {"target": "log-prob"}, 0),
    "parameter, prob, reference": ("ssiuu", {"anchor": "reference"}, 6),
    "neuron, finite difference": ("ssiuu_neurons", NEURON | {"order": "finite-difference"}, 2 + 6),
    "neuron, exact": ("ssiuu_neurons", NEURON | {"order": "exact"}, 2 + 2 + 4),
    "neuron, frozen gradient": ("ssiuu_neurons", NEURON | {"order": "frozen-gradient"}, 2 + 4),
    "neuron, finite difference, reference": (
        "ssiuu_neurons", NEURON | {"order": "finite-difference", "anchor": "reference"}, 2 + 2 + 6,
    ),
    "l2 to reference": ("l2_to_reference", {"relative": 1.0}, 0),
    "damping": ("damping", {"relative": 1.0}, 0),
}  # fmt: skip
"""Regularizer, its settings, and the passes that it adds."""

KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
"""Environment variables that make glibc keep freed memory."""


def train(model: str, facts: str, variant: str, steps: int) -> dict[str, float]:
    """Median seconds per step, and peak memory in bytes beyond that of the loaded model."""
    import torch

    from neuronscope._discover import method_class
    from neuronscope.facts.loading import load_facts
    from neuronscope.models.loading import load_model
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
    """Train every variant in every round and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("facts", nargs="+")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/ssiuu_overhead.csv"))
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--measure", action="store_true", help="measure one variant and print JSON")
    options = parser.parse_args()
    if options.measure:
        (facts,), (variant,) = options.facts, options.variants
        print(json.dumps(train(options.model, facts, variant, options.steps)))
        return
    rows = []
    for facts in options.facts:
        for number in range(options.rounds):
            for variant in options.variants:
                costs = measured(options.model, facts, variant, options.steps)
                rows.append(
                    {"facts": Path(facts).name, "round": number, "variant": variant} | costs
                )
                print(rows[-1], flush=True)
    table = ratios(pd.DataFrame(rows))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False)
    print(table.round(3).to_string())


def measured(model: str, facts: str, variant: str, steps: int) -> dict[str, float]:
    """The costs of a variant, measured in a separate process."""
    command = [sys.executable, __file__, model, facts, "--measure"]
    command += ["--variants", variant, "--steps", str(steps)]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | KEEP_MEMORY
    )
    return json.loads(done.stdout.splitlines()[-1])


def ratios(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians over rounds, relative to gradient difference on the same facts."""
    table = rows.groupby(["facts", "variant"], sort=False)[["seconds", "memory"]].median()
    table = table.reset_index()
    plain = table.loc[table["variant"] == "gradient difference"].set_index("facts")
    table["time_ratio"] = table["seconds"] / table["facts"].map(plain["seconds"])
    table["floor"] = [(PLAIN + VARIANTS[name][2]) / PLAIN for name in table["variant"]]
    table["over_floor"] = table["time_ratio"] / table["floor"]
    table["memory_ratio"] = table["memory"] / table["facts"].map(plain["memory"])
    return table


if __name__ == "__main__":
    main()
