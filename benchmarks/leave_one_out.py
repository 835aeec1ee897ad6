"""Is the verdict right on generators of pairs that had no part in choosing its settings?

The bound up to which a hidden share counts as erased decides how often the relearning probe commits
itself. For every generator in the tables, it is chosen anew on the pairs of all other generators:
as the largest one with which at least 95 % of their verdicts are right. The verdicts on the
generator's own pairs are then counted. Takes a second.

    python benchmarks/leave_one_out.py [TABLE ...] [--out benchmarks/results/leave_one_out.csv]

A table has the columns `generator` (or `kind`), `truth`, `verdict`, `p` and `high`, as written by
`verdict.py` and `real_pairs.py`.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from neuronscope.analysis.statistics import wilson_interval
from neuronscope.evidence.relearning_probe import ERASED_TO, LEVEL

BOUNDS = (0.2, 0.25, 0.3, ERASED_TO, 0.4, 0.5, 0.6, 0.75, 1.0)
RIGHT = 0.95
RESULTS = Path("benchmarks/results")
TABLES = (RESULTS / "verdict.csv", RESULTS / "real_pairs.csv")


def words(pairs: pd.DataFrame, bound: float) -> pd.Series:
    """The verdicts if a share is erased up to this bound.

    A verdict that was withheld for another reason than the bound stays withheld.
    """
    by_bound = (pairs["verdict"] == "erased") | (
        (pairs["verdict"] == "cannot tell") & (pairs["p"] > LEVEL) & (pairs["high"] > ERASED_TO)
    )
    chosen = np.where(pairs["high"] <= bound, "erased", "cannot tell")
    return pairs["verdict"].where(~by_bound, pd.Series(chosen, pairs.index))


def chosen_bound(pairs: pd.DataFrame) -> float:
    """The largest bound with which enough verdicts are right; the smallest one if none is."""
    enough = [BOUNDS[0]]
    for bound in BOUNDS:
        found = words(pairs, bound)
        committed = found != "cannot tell"
        if (found == pairs["truth"])[committed].mean() >= RIGHT:
            enough.append(bound)
    return max(enough)


def read(paths: list[Path]) -> pd.DataFrame:
    """The pairs of all tables that the probe judged."""
    tables = [pd.read_csv(path).rename(columns={"kind": "generator"}) for path in paths]
    return pd.concat(tables, ignore_index=True).dropna(subset=["p"])


def main() -> None:
    """Leave out one generator after another, and print and write the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", type=Path, default=list(TABLES))
    parser.add_argument("--out", type=Path, default=RESULTS / "leave_one_out.csv")
    options = parser.parse_args()
    pairs, rows = read(options.tables), []
    for generator, own in pairs.groupby("generator", sort=False):
        bound = chosen_bound(pairs.loc[pairs["generator"] != generator])
        found = words(own, bound)
        committed = found != "cannot tell"
        right = (found == own["truth"]) & committed
        rows.append((generator, len(own), bound, int(committed.sum()), int(right.sum())))
    columns = ["generator", "pairs", "erased_to", "committed", "right"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(options.out, index=False)
    print(table.to_string(index=False))
    for name, count, total in (
        ("committed", "committed", "pairs"),
        ("right", "right", "committed"),
    ):
        done, of = int(table[count].sum()), int(table[total].sum())
        low, high = wilson_interval(done, of)
        print(f"{name}: {done} of {of} [{low:.0%}, {high:.0%}]")


if __name__ == "__main__":
    main()
