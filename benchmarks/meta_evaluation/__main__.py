"""Do scores that need no attack predict how much a relearning attack recovers?

Many checkpoints of one model are unlearned with different methods, depths, facts and seeds; each is
attacked and scored; the scores are correlated with the measured recovery over checkpoints.

    python benchmarks/meta_evaluation make attack score --model MODEL --facts FACTS [FACTS ...]
    python benchmarks/meta_evaluation summary

The stages of a checkpoint run one after the other. What is in `--results` is not computed again, so
that an interrupted call continues where it was; the checkpoints themselves are in `--work`, and are
made again from their seeds if a stage needs one that is missing. `score --again KIND` computes
scores anew. With `--full-grid`, `attack` attacks the first eight checkpoints with four learning
rates and three draws as well. One thread is used, so that the numbers are the same every time.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import torch
from plan import RELATIONS, Checkpoint, planned
from scores import KINDS
from stages import GRID_CHECKPOINTS, GRID_DRAWS, GRID_RATES, RATES, Bench, attack, make, score
from summary import summarize


def main() -> None:
    """Run the stages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stages", nargs="+", choices=["make", "attack", "score", "summary"])
    parser.add_argument("--model")
    parser.add_argument("--facts", nargs="+", type=Path, default=[])
    parser.add_argument("--work", type=Path, default=Path("meta_evaluation"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/meta_evaluation"))
    parser.add_argument("--relations", nargs="+", default=RELATIONS)
    parser.add_argument("--rounds", type=int, default=4, help="checkpoints of each method")
    parser.add_argument("--first", type=int, help="only this many checkpoints")
    parser.add_argument("--full-grid", action="store_true")
    parser.add_argument("--again", nargs="+", choices=KINDS, default=[])
    options = parser.parse_args()
    plan = planned(options.relations, options.rounds)[: options.first]
    if set(options.stages) - {"summary"}:
        torch.set_num_threads(1)
        bench = Bench.of(options.model, options.facts, options.work, options.results)
        for place, one in enumerate(plan):
            _stages(bench, one, options, place < GRID_CHECKPOINTS and options.full_grid)
            print(f"{place + 1} of {len(plan)}: {one.name}", flush=True)
    if "summary" in options.stages:
        summarize([one.name for one in plan], options.results)


def _stages(bench: Bench, one: Checkpoint, options: argparse.Namespace, grid: bool) -> None:
    """The stages of one checkpoint that are asked for and not done."""
    if "make" in options.stages and "make" not in bench.row(one):
        bench.keep(one, checkpoint=asdict(one), make=make(bench, one))
    if "attack" in options.stages and "attack" not in bench.row(one):
        bench.keep(one, attack=attack(bench, one, RATES, (0,)))
    if "attack" in options.stages and grid and "grid" not in bench.row(one):
        bench.keep(one, grid=attack(bench, one, GRID_RATES, GRID_DRAWS))
    if "score" in options.stages:
        score(bench, one, options.again)


if __name__ == "__main__":
    main()
