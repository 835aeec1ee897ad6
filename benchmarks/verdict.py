"""How often the verdict is right on model organisms, for which the right verdict is known.

Settings and thresholds (`neuronscope/evidence/relearning_probe.py`) were chosen on the organisms of
seeds 0 to 2; those of seeds 3 to 5 are held out. For each organism, one row with the planted
neurons, the verdict, the hidden share of the relearning probe, and the number of planted neurons
that the weight path ranks first. Prints rates with 95 % Wilson intervals. Takes about four minutes
per seed on one core.

    python benchmarks/verdict.py [--seeds 0 3 4 5] [--out benchmarks/results/verdict.csv]
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from neuronscope.analysis.rankings import rankings_of_weights
from neuronscope.analysis.statistics import wilson_interval
from neuronscope.analysis.verdict import weigh
from neuronscope.evidence._base import Case
from neuronscope.evidence._views import ask_views
from neuronscope.evidence.logit_lens import LogitLens
from neuronscope.evidence.relearning_probe import RelearningProbe
from neuronscope.evidence.silencing import Silencing
from neuronscope.evidence.weight_path import WeightPath
from neuronscope.evidence.weight_restoration import WeightRestoration
from neuronscope.models.targets import Target
from neuronscope.organisms.organism import Organism, organism_grid
from neuronscope.results.findings import Finding

FITTED = (0, 1, 2)
"""Seeds of the organisms on which the thresholds were chosen."""

TRUTHS = {"untouched": "not forgotten"}
"""The right verdict of a kind, if it differs from the kind's name."""


def evaluated(organism: Organism, seed: int) -> dict[str, object]:
    """The row of one organism: what is planted, and the findings."""
    case = Case(organism.before, organism.after, organism.facts, Target())
    first, _ = ask_views(case, (WeightPath(),))
    rankings = rankings_of_weights(first[0].tables["neurons"])
    views = (RelearningProbe(), WeightRestoration(), Silencing(), LogitLens())
    found, missing = ask_views(replace(case, rankings=rankings), views)
    assert not missing, missing
    verdict = weigh(case.table(), "cannot tell", first + found)
    words = {f"{finding.view}_word": finding.word for finding in found}
    return {
        "seed": seed,
        "kind": organism.kind,
        "description": organism.description,
        "hidden_share": organism.hidden_share,
        "verdict": verdict.word,
        "right": verdict.word == TRUTHS.get(organism.kind, organism.kind),
        "relearning_probe": verdict.hidden_share,
        "planted": sum(int(mask.sum()) for mask in organism.planted.values()),
        "weight_path_found": _found(organism, first[0]),
    } | words


def _found(organism: Organism, finding: Finding) -> int:
    """The number of planted neurons among the same number that the weight path ranks first."""
    count = sum(int(mask.sum()) for mask in organism.planted.values())
    top = finding.tables["neurons"].nlargest(count, "contribution")
    return sum(
        bool(organism.planted[site][layer, neuron])
        for site, layer, neuron in zip(top["site"], top["layer"], top["neuron"], strict=True)
        if site in organism.planted
    )


def rate(rows: pd.Series) -> str:
    """A rate as text, with its count and interval."""
    low, high = wilson_interval(int(rows.sum()), len(rows))
    return f"{int(rows.sum())} of {len(rows)} [{low:.0%}, {high:.0%}]"


def main() -> None:
    """Evaluate all organisms, write the table and print the rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 3, 4, 5])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/verdict.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, refused = [], []
    for seed in options.seeds:
        for make in organism_grid((seed,)):
            try:
                organism = make()
            except ValueError as error:
                refused.append(str(error))
                continue
            rows.append(evaluated(organism, seed))
            print(rows[-1]["kind"], rows[-1]["verdict"], rows[-1]["description"], flush=True)
    table = pd.DataFrame(rows)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out, index=False)
    print(f"\n{len(refused)} organisms could not be made", *refused, sep="\n  ")
    for name, part in (
        ("fitted", table.loc[table["seed"].isin(FITTED)]),
        ("held out", table.loc[~table["seed"].isin(FITTED)]),
    ):
        print(f"\n{name}: right {rate(part['right'])}")
        for kind, group in part.groupby("kind", sort=False):
            print(f"  {kind}: right {rate(group['right'])}")
        hidden = part.loc[part["kind"] == "hidden"]
        print(f"  hidden called erased: {rate(hidden['verdict'] == 'erased')}")
        planted = part.loc[part["planted"] > 0]
        share = planted["weight_path_found"].sum() / max(planted["planted"].sum(), 1)
        print(f"  planted neurons that the weight path ranks first: {share:.3f}")


if __name__ == "__main__":
    main()
