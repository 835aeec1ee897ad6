"""The causal views' tables as rows of the page; empty where a view was not run."""

import pandas as pd

from neuronscope.report.cells import Cell, Table, sortable
from neuronscope.report.estimates import Estimate, counted, estimate, on_scale
from neuronscope.report.numbers import number, share, spaced
from neuronscope.results.findings import ITSELF, Finding

TOP_DIRECTIONS = 20
"""Maximum number of directions in the page's table."""

HELD_OUT = "other facts"
"""In the column `chosen_on`: neurons were not selected on the facts they are tested on."""


def table(finding: Finding | None, name: str) -> pd.DataFrame | None:
    """A finding's table; None if it is missing or empty."""
    found = None if finding is None else finding.tables.get(name)
    return None if found is None or found.empty else found


def figure(finding: Finding | None, name: str) -> int | None:
    """A finding's integer; None if it is missing."""
    found = None if finding is None else finding.figures.get(name)
    return found if isinstance(found, int) else None


def ranking_name(ranking: str) -> str:
    """The displayed name of a ranking of the neurons."""
    return "D⁻" if ranking == "d_minus" else spaced(ranking)


def ranking_table(weight_restoration: Finding | None, name: str) -> pd.DataFrame | None:
    """A table of rankings with their displayed names, without duplicate rankings.

    Rankings whose displayed names agree (such as `weight_path` and "weight path") are listed once.
    """
    found = table(weight_restoration, name)
    if found is None:
        return None
    named = found.assign(ranking=found["ranking"].map(ranking_name))
    return named.drop_duplicates([key for key in ("ranking", "control", "size") if key in named])


def scores(weight_restoration: Finding | None) -> tuple[Estimate, ...]:
    """The causal score of each ranking, the best first."""
    found = ranking_table(weight_restoration, "scores")
    if found is None:
        return ()
    return on_scale(
        [
            estimate(
                row["ranking"],
                row["causal_score"],
                (row["low"], row["high"]),
                "yes" if row["beats_random"] else "no",
                row["chance"],
            )
            for row in found.to_dict("records")
        ]
    )


def minimal_set(weight_restoration: Finding | None) -> tuple[Estimate, ...]:
    """Answers that the smallest set of neurons recovers, and those that a random set recovers."""
    names = ("minimal_neurons", "minimal_answered", "minimal_random_most", "forgotten")
    size, recovered, random, total = (figure(weight_restoration, name) for name in names)
    if size is None or recovered is None or random is None or not total:
        return ()
    return on_scale(
        [
            counted(f"this set ({size:,})", recovered, total),
            counted(f"random, matched ({size:,}; best draw)", random, total),
        ],
        most=1.0,
    )


def minimal_layers(weight_restoration: Finding | None) -> dict[int, int]:
    """How many neurons of the smallest set each layer contains, the largest number first."""
    found = table(weight_restoration, "minimal_set")
    if found is None:
        return {}
    return {int(str(layer)): count for layer, count in found["layer"].value_counts().items()}


def silenced(silencing: Finding | None) -> tuple[Estimate, ...]:
    """Answers recovered by ablating suspected inhibitors, by number of neurons, with controls."""
    found = table(silencing, "curves")
    if found is None:
        return ()
    held_out = found.loc[found["chosen_on"] == HELD_OUT]
    random = held_out.loc[held_out["control"] != ITSELF].groupby("size")["answered"].max()
    return on_scale(
        [
            counted(
                f"{row['size']:,}",
                row["answered"],
                row["total"],
                f"at most {random[row['size']]}" if row["size"] in random.index else "–",
            )
            for row in held_out.loc[held_out["control"] == ITSELF].to_dict("records")
        ],
        most=1.0,
    )


def relearned(relearning_probe: Finding | None) -> tuple[Estimate, ...]:
    """Answers recovered at each distance in weight space, and wrong answers learned there."""
    found = table(relearning_probe, "curve")
    if found is None:
        return ()
    wrong = found.loc[found["control"] != ITSELF].groupby("distance")["share"].mean()
    return on_scale(
        [
            counted(
                f"{number(100 * row['distance'])}\u00a0%",
                row["answered"],
                row["total"],
                share(wrong[row["distance"]]),
            )
            for row in found.loc[found["control"] == ITSELF].to_dict("records")
        ],
        most=1.0,
    )


def completeness(weight_path: Finding | None) -> dict[str, float]:
    """How exactly the weight path adds up: `total`, `drop`, `missing` and `nodes`."""
    if weight_path is None:
        return {}
    values = {name: weight_path.figures[name] for name in ("total", "drop", "missing", "nodes")}
    return {name: value for name, value in values.items() if isinstance(value, float | int)}


def parts(low_rank_restoration: Finding | None) -> tuple[Estimate, ...]:
    """Answers recovered by restoring one part of the change, and how large that part is."""
    found = table(low_rank_restoration, "parts")
    if found is None:
        return ()
    return on_scale(
        [
            counted(
                f"layers {row['part']}" if row["kind"] == "layers" else row["part"],
                row["answered"],
                row["total"],
                share(row["energy"]),
            )
            for row in found.loc[found["split"] == "forget"].to_dict("records")
        ],
        most=1.0,
    )


def directions(low_rank_restoration: Finding | None) -> Table | None:
    """The largest singular directions of the change that write to the residual stream."""
    found = table(low_rank_restoration, "directions")
    if found is None:
        return None
    columns = {"module": "module", "layer": "layer"}
    if (found["expert"] >= 0).any():
        columns["expert"] = "expert"
    columns |= {"direction": "direction", "singular_value": "singular value", "share": "share"}
    columns |= {"neurons": "neurons", "promoted": "promoted", "suppressed": "suppressed"}
    shown = sortable(
        found.loc[:, list(columns)].head(TOP_DIRECTIONS), tuple(columns.values()), len(found)
    )
    at = shown.header.index("share")
    rows = [
        (*row[:at], Cell(share(float(row[at].key)), row[at].key), *row[at + 1 :])
        for row in shown.rows
    ]
    return Table(shown.header, tuple(rows), shown.total)


def methods(exactness: Finding | None) -> tuple[Estimate, ...]:
    """Rank correlation of each attribution method with the exact effect of ablation."""
    found = table(exactness, "methods")
    if found is None:
        return ()
    ordered = found.sort_values("correlation", ascending=False, kind="stable")
    return on_scale(
        [
            estimate(
                spaced(row["method"]),
                row["correlation"],
                (row["low"], row["high"]),
                f"{row['neurons']:,}",
            )
            for row in ordered.to_dict("records")
        ],
        most=1.0,
    )
